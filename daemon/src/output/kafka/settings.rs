//! What librdkafka is told: our choices, and over them whatever properties the operator set.

use crate::{
    output::{Credentials, HostPort},
    setting_error::SettingError,
};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use std::path::Path;

/// Bytes that librdkafka may hold: enough to keep a link of 1 Gbit/s and 100 ms full. What waits beyond
/// it, waits in our own queue, whose drop policy and bound are known.
const WINDOW_KIB: usize = 16 << 10;
/// How often librdkafka says which brokers are up: an alert on it is worth seconds.
const STATISTICS_INTERVAL_MS: u64 = 5_000;
/// librdkafka's default of `message.max.bytes`; brokers take 1,048,588 bytes by theirs.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// Of a message, beside its value: the key (51 bytes at most) and what the protocol puts around it.
const MESSAGE_OVERHEAD_BYTES: usize = 1_024;
/// A file with a secret, or with a certificate chain, is smaller.
const PROPERTY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Properties that are set by flags of our own, and the flag.
const BY_FLAG: [(&str, &str); 6] = [
    ("bootstrap.servers", "--dest kafka:host:port"),
    ("metadata.broker.list", "--dest kafka:host:port"),
    ("compression.type", "--kafka-compression"),
    ("compression.codec", "--kafka-compression"),
    (
        "statistics.interval.ms",
        "nothing: xtcp2_kafka_brokers_up needs it",
    ),
    ("log.queue", "nothing: the log is read by the one loop"),
];

/// Properties whose value is a secret: they are read from files, since a command line and an
/// environment can be read in /proc, and a configuration file is printed by `--print-config`.
const SECRET: [&str; 7] = [
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.assertion.private.key.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// A property of librdkafka, as the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name in librdkafka's CONFIGURATION.md.
    pub name: String,
    /// Its value, or `@` and the path of the file that holds it.
    pub value: String,
}

impl std::str::FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Property, String> {
        let (name, value) = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("expected PROPERTY=VALUE, got {text:?}"))?;
        if let Some((_, flag)) = BY_FLAG.iter().find(|(property, _)| *property == name) {
            return Err(format!("expected {flag} instead of the property {name}"));
        }
        if SECRET.contains(&name) && !value.starts_with('@') {
            return Err(format!(
                "expected {name}=@FILE, got the secret itself, which others could read"
            ));
        }
        Ok(Property {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// What the Kafka output is opened with, beside its brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Topic of all messages.
    pub topic: String,
    /// `auto`, `zstd`, `lz4`, `snappy`, `gzip` or `none`.
    pub compression: String,
    /// Over our own choices.
    pub properties: Vec<Property>,
}

impl Settings {
    /// The configuration of a producer. Files are read anew each time, so a rotated secret is found; but for
    /// pipes, which say theirs once.
    ///
    /// # Errors
    /// When a file cannot be read. What librdkafka itself refuses comes out when it makes the producer.
    pub fn client_config(
        &self,
        brokers: &[HostPort],
        credentials: &Credentials,
    ) -> Result<ClientConfig, SettingError> {
        let compression = match self.compression.as_str() {
            // Brokers before 2.1 do not know it; librdkafka then sends uncompressed.
            "auto" => "zstd",
            named => named,
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", addresses(brokers))
            .set("client.id", "xtcp2")
            .set("enable.idempotence", "true")
            // No time-out: what the broker does not take waits, here or in the spool, and the bound of
            // that decides what is given up. A time-out of 3 s lost 600 of 3,030 messages in an outage.
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.kbytes", WINDOW_KIB.to_string())
            .set("compression.type", compression)
            .set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string())
            .set_log_level(RDKafkaLogLevel::Warning);
        for Property { name, value } in &self.properties {
            match value.strip_prefix('@') {
                Some(path) => config.set(name, read(name, Path::new(path), credentials)?),
                None => config.set(name, value),
            };
        }
        Ok(config)
    }

    /// The largest message that the broker is asked to take.
    pub fn message_bytes_max(&self) -> usize {
        let set = self
            .properties
            .iter()
            .rfind(|set| set.name == "message.max.bytes");
        let bytes = set
            .and_then(|set| set.value.parse().ok())
            .unwrap_or(MESSAGE_BYTES_MAX);
        bytes.saturating_sub(MESSAGE_OVERHEAD_BYTES)
    }
}

/// The addresses as librdkafka takes them.
pub(super) fn addresses(brokers: &[HostPort]) -> String {
    let addresses: Vec<String> = brokers.iter().map(HostPort::to_string).collect();
    addresses.join(",")
}

fn read(name: &str, path: &Path, credentials: &Credentials) -> Result<String, SettingError> {
    let text = credentials
        .read(path, PROPERTY_FILE_BYTES_MAX)
        .map_err(|error| error.of(format_args!("property {name}")))?;
    // Editors end a line; passwords do not end in one.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::fd::AsRawFd};

    fn client_config(settings: &Settings) -> Result<ClientConfig, SettingError> {
        settings.client_config(&brokers(), &Credentials::default())
    }

    fn brokers() -> Vec<HostPort> {
        vec!["a:9092".parse().unwrap(), "[::1]:9093".parse().unwrap()]
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let settings = Settings {
            topic: "t".to_owned(),
            compression: "auto".to_owned(),
            properties: vec![
                "linger.ms=50".parse().unwrap(),
                "message.timeout.ms = 60000".parse().unwrap(),
                "message.max.bytes=2000000".parse().unwrap(),
            ],
        };
        let config = client_config(&settings).unwrap();
        for (name, value) in [
            ("bootstrap.servers", "a:9092,[::1]:9093"),
            ("enable.idempotence", "true"),
            ("compression.type", "zstd"),
            ("linger.ms", "50"),
            ("message.timeout.ms", "60000"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert_eq!(settings.message_bytes_max(), 2_000_000 - MESSAGE_OVERHEAD_BYTES);
    }

    #[test]
    fn secrets_come_from_files_and_are_shown_nowhere() {
        let error = "sasl.password=hunter2".parse::<Property>().unwrap_err();
        assert!(
            error.contains("sasl.password=@FILE") && !error.contains("hunter2"),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "hunter2\n").unwrap();
        let property: Property = format!("sasl.password=@{}", path.display()).parse().unwrap();
        assert!(!format!("{property} {property:?}").contains("hunter2"));
        let settings = Settings {
            properties: vec![property],
            ..Settings::default()
        };
        let config = client_config(&settings).unwrap();
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
        fs::remove_file(&path).unwrap();
        let error = client_config(&settings).unwrap_err().to_string();
        assert!(
            error.starts_with("property sasl.password: ") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn the_secret_of_a_pipe_is_read_once_and_kept() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"hunter2\n").unwrap();
        drop(writer);
        let settings = Settings {
            properties: vec![
                format!("sasl.password=@/proc/self/fd/{}", reader.as_raw_fd())
                    .parse()
                    .unwrap(),
            ],
            ..Settings::default()
        };
        let credentials = Credentials::default();
        for _ in 0..2 {
            let config = settings.client_config(&brokers(), &credentials).unwrap();
            assert_eq!(config.get("sasl.password"), Some("hunter2"));
        }
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("linger.ms", "PROPERTY=VALUE"),
            ("=5", "PROPERTY=VALUE"),
            ("compression.type=lz4", "--kafka-compression"),
            ("bootstrap.servers=x:1", "--dest"),
        ] {
            assert!(text.parse::<Property>().unwrap_err().contains(part), "{text}");
        }
    }
}
