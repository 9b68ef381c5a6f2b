use super::*;
use std::{net::UdpSocket, os::unix::net::UnixDatagram};

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let count = socket.recv(&mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

#[test]
fn udp_sends_one_message_a_datagram_up_to_its_limit() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let receiver = UdpSocket::bind(address).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let options = Options {
            preamble: b"header\n".to_vec(),
            ..Options::default()
        };
        let mut driver = Driver::open(&format!("udp:{}", receiver.local_addr().unwrap()), options);
        let max = driver.output.message_bytes_max();
        driver.offer(message(1, 10));
        driver.offer(message(2, max + 1));
        driver.offer(message(3, max));
        driver.run_until_idle();
        assert_eq!(received(&receiver), message(1, 10).bytes, "no preamble");
        assert_eq!(received(&receiver), message(3, max).bytes);
        assert_eq!(driver.counters().dropped(DropReason::TooLarge).messages, 1);
        assert_eq!(driver.counters().errors, 0);
        driver.assert_quiet();
    }
}

#[test]
fn udp_without_a_receiver_counts_errors_and_goes_on() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut driver = Driver::open(&format!("udp:{address}"), Options::default());
    for sequence in 0..5 {
        driver.offer(message(sequence, 10));
        driver.turn(Duration::from_millis(5));
    }
    driver.run_until_idle();
    driver.assert_quiet();
    assert_eq!(driver.counters().delivered.messages, 5);
    assert!(driver.counters().errors > 0);
    assert!(driver.counters().connected);
}

#[test]
fn unixgram_waits_for_a_slow_receiver_and_for_one_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let destination = format!("unixgram:{}", path.display());
    let mut driver = Driver::open(&destination, Options::default());
    driver.offer(message(0, 100));
    assert!(!driver.output.is_idle(), "no receiver yet");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_nonblocking(true).unwrap();
    driver.run_until_idle();

    // Far more than a receiver's queue holds (net.unix.max_dgram_qlen).
    for sequence in 1..2000 {
        driver.offer(message(sequence, 100));
    }
    assert!(!driver.output.is_idle());
    let mut buffer = [0; 200];
    let mut next = 0;
    driver.run_until("all received", |_| {
        while receiver.recv(&mut buffer).is_ok() {
            assert_eq!(&buffer[..100], message(next, 100).bytes, "message {next}");
            next += 1;
        }
        next == 2000
    });
    assert!(driver.output.is_idle());
    driver.assert_quiet();

    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    driver.offer(message(5, 100));
    driver.run_until("the loss is noticed", |output| !output.counters().connected);
    let receiver = UnixDatagram::bind(&path).unwrap();
    driver.run_until_idle();
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 100);
    assert_eq!(driver.counters().reconnects, 1);
    assert_eq!(driver.counters().dropped_total().messages, 0);
}

#[test]
fn unixgram_takes_what_it_says_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut driver = Driver::open(&format!("unixgram:{}", path.display()), Options::default());
    let max = driver.output.message_bytes_max();
    assert!(max >= 4096);
    driver.offer(message(0, max));
    driver.offer(message(0, max + 1));
    driver.run_until_idle();
    assert_eq!(driver.counters().delivered.messages, 1);
    let mut buffer = vec![0; max + 1];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), max);
}
