//! Where rows go: the value of `--dest`.

use std::{fmt, path::PathBuf, str::FromStr};

/// A parsed `--dest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
    /// `null`: rows are made, counted and discarded.
    Null,
    /// `file:/path`: appended to.
    File(PathBuf),
    /// `udp:host:port`
    Udp(HostPort),
    /// `tcp:host:port`
    Tcp(HostPort),
    /// `unix:/path`: a stream socket.
    Unix(PathBuf),
    /// `unixgram:/path`: a datagram socket.
    UnixDatagram(PathBuf),
    /// `http://...` and `https://...`: one POST a message.
    Http(HttpUrl),
    /// `clickhouse:http://host:8123/db.table`: one INSERT a message.
    Clickhouse(ClickhouseUrl),
    /// `kafka:host:port[,host:port]`
    Kafka(Vec<HostPort>),
}

/// A host name or address literal, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address; an IPv6 literal without its brackets.
    pub host: String,
    /// Port number, never 0.
    pub port: u16,
}

/// The parts of an http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// https
    pub tls: bool,
    /// Where to connect.
    pub authority: HostPort,
    /// Path and query, as sent in the request line; starts with `/`.
    pub path_and_query: String,
}

/// The ClickHouse server and the table that messages are inserted into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickhouseUrl {
    /// The server; of path and query, only the query counts: settings, `user`, `format_schema`.
    pub server: HttpUrl,
    /// `database.table`
    pub table: String,
}

/// What a `--dest` may look like, for error messages and help.
pub const EXPECTED: &str = "stdout, stderr, null, file:/path, udp:host:port, tcp:host:port, unix:/path, \
     unixgram:/path, http://host[:port]/path, https://host[:port]/path, clickhouse:http://host:8123/db.table \
     (or clickhouse:https:) or kafka:host:port[,host:port]";

/// `text` that was rejected, as an error message may show it: what is before an `@` may be a password, and what is behind
/// a `?` hold one.
fn without_secrets(text: &str) -> String {
    let (before, behind) = match text.rsplit_once('@') {
        Some((before, behind)) => {
            let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
            (format!("{scheme}***@"), behind)
        }
        None => (String::new(), text),
    };
    match behind.split_once('?') {
        Some((behind, _)) => format!("{before}{behind}?***"),
        None => before + behind,
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPort, String> {
        let error = || {
            let got = without_secrets(text);
            format!("expected host:port (an IPv6 address in brackets), got {got:?}")
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(literal) => literal,
            None if host.contains(':') => return Err(error()),
            None => host,
        };
        match port.parse::<u16>() {
            Ok(port) if port != 0 && !host.is_empty() => Ok(HostPort {
                host: host.to_owned(),
                port,
            }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl HttpUrl {
    fn parse(rest: &str, tls: bool) -> Result<HttpUrl, String> {
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let got = || without_secrets(rest);
        if authority.contains('@') {
            return Err(format!(
                "expected a URL without user and password, got {:?}: credentials go into --http-headers-file",
                got()
            ));
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        let authority = if has_port {
            authority.parse()
        } else {
            format!("{authority}:{}", if tls { 443 } else { 80 }).parse()
        };
        // Not what is wrong with a part: a password with a slash in it is cut in two.
        let authority = authority.map_err(|_: String| {
            format!(
                "expected host[:port]/path (an IPv6 address in brackets), got {:?}",
                got()
            )
        })?;
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("expected a URL without blanks, got {:?}", got()));
        }
        let path_and_query = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(HttpUrl {
            tls,
            authority,
            path_and_query,
        })
    }
}

impl FromStr for ClickhouseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ClickhouseUrl, String> {
        let error = || {
            let got = without_secrets(text);
            format!("expected http://host:8123/db.table or https://host:8443/db.table, got {got:?}")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(error)?;
        if !["http", "https"].contains(&scheme) {
            return Err(error());
        }
        let server = HttpUrl::parse(rest, scheme == "https")?;
        let path = server.path_and_query.split('?').next().unwrap_or_default();
        let table = path.trim_start_matches('/').to_owned();
        // It becomes part of a statement: names that need no quotes only.
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match table.split_once('.') {
            Some((database, name)) if is_name(database) && is_name(name) => {
                Ok(ClickhouseUrl { server, table })
            }
            _ => Err(error()),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path_and_query)
    }
}

impl Destination {
    /// For logs and reports: the query of a URL, which may hold a password, is left out.
    pub fn public_name(&self) -> String {
        let name = self.to_string();
        match (self, name.find('?')) {
            (Destination::Http(_) | Destination::Clickhouse(_), Some(query)) => name[..query].to_owned(),
            _ => name,
        }
    }

    /// Whether messages leave the host, so that a spool can stand behind them.
    pub fn is_network(&self) -> bool {
        match self {
            Destination::Stdout | Destination::Stderr | Destination::Null | Destination::File(_) => false,
            Destination::Udp(_)
            | Destination::Tcp(_)
            | Destination::Unix(_)
            | Destination::UnixDatagram(_)
            | Destination::Http(_)
            | Destination::Clickhouse(_)
            | Destination::Kafka(_) => true,
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Destination, String> {
        let path = |rest: &str| match rest {
            "" => Err(format!("expected a path after the colon, got {text:?}")),
            path => Ok(PathBuf::from(path)),
        };
        match text {
            "stdout" | "stdout:" => return Ok(Destination::Stdout),
            "stderr" | "stderr:" => return Ok(Destination::Stderr),
            "null" | "null:" => return Ok(Destination::Null),
            _ => {}
        }
        match text.split_once(':') {
            Some(("file", rest)) => Ok(Destination::File(path(rest)?)),
            Some(("udp", rest)) => Ok(Destination::Udp(rest.parse()?)),
            Some(("tcp", rest)) => Ok(Destination::Tcp(rest.parse()?)),
            Some(("unix", rest)) => Ok(Destination::Unix(path(rest)?)),
            Some(("unixgram", rest)) => Ok(Destination::UnixDatagram(path(rest)?)),
            Some((scheme @ ("http" | "https"), rest)) => match rest.strip_prefix("//") {
                Some(rest) => Ok(Destination::Http(HttpUrl::parse(rest, scheme == "https")?)),
                None => {
                    let got = without_secrets(text);
                    Err(format!("expected {scheme}://host/path, got {got:?}"))
                }
            },
            Some(("kafka", rest)) => {
                let brokers: Result<Vec<HostPort>, String> = rest.split(',').map(str::parse).collect();
                Ok(Destination::Kafka(brokers?))
            }
            Some(("clickhouse", rest)) => Ok(Destination::Clickhouse(rest.parse()?)),
            _ => Err(format!("expected {EXPECTED}, got {:?}", without_secrets(text))),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Stdout => f.write_str("stdout"),
            Destination::Stderr => f.write_str("stderr"),
            Destination::Null => f.write_str("null"),
            Destination::File(path) => write!(f, "file:{}", path.display()),
            Destination::Udp(to) => write!(f, "udp:{to}"),
            Destination::Tcp(to) => write!(f, "tcp:{to}"),
            Destination::Unix(path) => write!(f, "unix:{}", path.display()),
            Destination::UnixDatagram(path) => write!(f, "unixgram:{}", path.display()),
            Destination::Http(url) => write!(f, "{url}"),
            Destination::Clickhouse(url) => write!(f, "clickhouse:{}", url.server),
            Destination::Kafka(brokers) => {
                let brokers: Vec<String> = brokers.iter().map(HostPort::to_string).collect();
                write!(f, "kafka:{}", brokers.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_parses_and_prints_back() {
        for text in [
            "stdout",
            "stderr",
            "null",
            "file:/var/log/rows.jsonl",
            "udp:127.0.0.1:13000",
            "udp:[::1]:13000",
            "tcp:collector:9000",
            "unix:/run/rows.sock",
            "unixgram:/run/rows.sock",
            "http://127.0.0.1:8080/ingest?a=b",
            "https://[2001:db8::1]:8443/",
            "kafka:a:9092,[::1]:9092",
            "clickhouse:http://host:8123/xtcp.rows",
            "clickhouse:https://[::1]:8443/xtcp.rows?user=u&max_memory_usage=1",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        let Ok(Destination::Http(url)) = "https://host".parse() else {
            panic!("not http")
        };
        assert_eq!((url.authority.port, url.path_and_query.as_str()), (443, "/"));
    }

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        let name = |dest: &str| dest.parse::<Destination>().unwrap().public_name();
        assert_eq!(name("https://h:8443/?user=a&password=b"), "https://h:8443/");
        assert_eq!(
            name("clickhouse:http://h:1/a.b?password=b"),
            "clickhouse:http://h:1/a.b"
        );
        assert_eq!(name("file:/a?b"), "file:/a?b");
    }

    #[test]
    fn what_is_wrong_is_named_without_its_passwords() {
        for (text, shown) in [
            ("https://svc:hunter2@collector/x", "collector/x"),
            ("https://svc:hunter2@collector:8443/x", "collector:8443/x"),
            ("http://hunter2@collector/x?y=hunter2", "collector/x"),
            ("https://svc:hunter2/hunter2?hunter2@collector/x", "collector/x"),
            ("https://collector:x/?password=hunter2", "collector:x/"),
            ("https:svc:hunter2@collector", "collector"),
            ("htps://svc:hunter2@collector/x", "htps://"),
            ("clickhouse:http://svc:hunter2@ch:8123/a.b", "ch:8123/a.b"),
            (
                "clickhouse:http://ch:8123/table?password=hunter2",
                "ch:8123/table",
            ),
            ("clickhouse:ftp://svc:hunter2@ch/a.b", "ftp://"),
            ("tcp:svc:hunter2@collector:9000", "collector:9000"),
            ("kafka:a:9092,svc:hunter2@b:9092", "b:9092"),
        ] {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(error.contains(shown) && error.contains("got"), "{text}: {error}");
            assert!(
                !error.contains("hunter2") && !error.contains("svc"),
                "{text}: {error}"
            );
        }
        let error = "https://svc:hunter2@collector/x"
            .parse::<Destination>()
            .unwrap_err();
        assert!(error.contains("--http-headers-file"), "{error}");
        // Of a path, it is no more than a character.
        let url = "https://collector/@team/x?to=a@b";
        assert_eq!(
            url.parse::<Destination>().unwrap().to_string(),
            "https://collector:443/@team/x?to=a@b"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in [
            "",
            "nats:x",
            "udp:host",
            "udp:host:0",
            "udp:::1:5",
            "tcp::5",
            "file:",
            "http:x",
            "kafka:a",
            "kafka:a:1,",
            "clickhouse:host:8123/a.b",
            "clickhouse:http://host:8123/",
            "clickhouse:http://host:8123/table",
            "clickhouse:http://host:8123/a.b;DROP",
            "clickhouse:ftp://host:8123/a.b",
        ] {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(
                error.contains("expected") && error.contains("got"),
                "{text}: {error}"
            );
        }
    }
}
