//! Numbers as `ss` prints them.

/// `%d` of a 32-bit number.
pub fn signed(number: u64) -> i32 {
    u32::try_from(number).unwrap().cast_signed()
}

/// `%g`: six significant digits, no zeros at the end.
pub fn general(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        trim(&format!("{number:.*}", usize::try_from(5 - exponent).unwrap()))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

/// Time left of a timer, rounded as ss does.
pub fn time_left(ms: u64) -> String {
    let (mut seconds, mut milliseconds) = (ms / 1000, ms % 1000);
    let minutes = seconds / 60;
    seconds %= 60;
    let mut text = String::new();
    if minutes > 0 {
        milliseconds = 0;
        text += &format!("{minutes}min");
        if minutes > 9 {
            seconds = 0;
        }
    }
    if seconds > 0 {
        if seconds > 9 {
            milliseconds = 0;
        }
        text += &format!("{seconds}{}", if milliseconds > 0 { "." } else { "sec" });
    }
    if milliseconds > 0 {
        text += &format!("{milliseconds:03}ms");
    }
    text
}
