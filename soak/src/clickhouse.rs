//! ClickHouse over HTTP: one request, its answer or its exception.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// A server that is there answers the SYN of a connection within that time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Of an exception's text: what a person needs of it stands in front of the stack.
const EXCEPTION_BYTES_MAX: u64 = 16 << 10;
/// Below every server's keep_alive_timeout (3 s in the oldest): a connection that the server closes as a
/// request is sent on it would look like an outage.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(2);

/// A table: `database.table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Database.
    pub database: String,
    /// Table in it.
    pub table: String,
}

impl Table {
    /// Reads `database.table`. Names that would need quotes are refused: they go into queries as they are.
    ///
    /// # Errors
    /// What was expected, and what came.
    pub fn parse(text: &str) -> Result<Table, String> {
        let is_name = |name: &str| {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        };
        match text.split_once('.') {
            Some((database, table)) if is_name(database) && is_name(table) => Ok(Table {
                database: database.to_owned(),
                table: table.to_owned(),
            }),
            _ => Err(format!(
                "expected database.table of letters, digits and _, got {text:?}"
            )),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Reads `http://host:port/database.table`: the server's address and the table, where one is named.
///
/// # Errors
/// What was expected, and what came.
pub fn parse_url(text: &str) -> Result<(String, Option<Table>), String> {
    let expected = |what: &str| format!("expected http://host:port/database.table{what}, got {text:?}");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| expected(""))?;
    if !matches!(scheme, "http" | "https") {
        return Err(expected(" or https"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        // Before the text is repeated in an error.
        return Err("expected no user and password in the URL (use --headers-file), got some".to_owned());
    }
    if authority.is_empty() || path.contains(['?', '#']) {
        return Err(expected(" and no query"));
    }
    let table = match path.trim_end_matches('/') {
        "" => None,
        name => Some(Table::parse(name)?),
    };
    Ok((format!("{scheme}://{authority}/"), table))
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No answer, or only a part of one.
    Away(String),
    /// Success, of another server: a page of a load balancer, a port of something else. It says nothing of
    /// ClickHouse.
    Stranger(String),
    /// An answer that is not success.
    Refused {
        /// Of HTTP.
        status: u16,
        /// Of ClickHouse's ErrorCodes; `None` where something else answered.
        code: Option<u32>,
        /// What it says.
        text: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Away(problem) => write!(f, "expected an answer, got {problem}"),
            Error::Stranger(text) => write!(
                f,
                "expected ClickHouse's answer, got success without X-ClickHouse-Query-Id, of another server: {text}"
            ),
            Error::Refused { status, text, .. } => write!(f, "expected success, got HTTP {status}: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// Trusts the certificates of the system, as the daemon does; SSL_CERT_FILE and SSL_CERT_DIR are honoured.
fn tls(url: &str) -> TlsConfig {
    let found = match url.starts_with("https:") {
        true => rustls_native_certs::load_native_certs().certs,
        false => Vec::new(),
    };
    let roots: Vec<Certificate<'static>> = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// A server.
#[derive(Debug)]
pub struct ClickHouse {
    agent: Agent,
    url: String,
    headers: Vec<(String, String)>,
}

impl ClickHouse {
    /// A server at `url`. Each request carries `headers`; sending it, waiting for the answer and reading that
    /// may take `timeout` each.
    pub fn new(url: String, headers: Vec<(String, String)>, timeout: Duration) -> ClickHouse {
        let config = Agent::config_builder()
            // An exception's text is in the body of an answer with an error status.
            .http_status_as_error(false)
            // None for all of it, nor for names: ureq would resolve each in a thread of its own.
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_request(Some(timeout))
            .timeout_send_body(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout))
            // A POST that is sent elsewhere is one that is not counted here.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // As with the daemon's outputs: what is named is what is connected to.
            .proxy(None)
            .max_idle_age(IDLE_CONNECTION_MAX)
            .tls_config(tls(&url))
            .build();
        let agent = config.new_agent();
        ClickHouse { agent, url, headers }
    }

    /// Sends a query with its settings, and data behind it.
    fn post(&self, settings: &[(&str, &str)], body: &[u8]) -> Result<Response<Body>, Error> {
        let mut request = self.agent.post(&self.url).query_pairs(settings.iter().copied());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = request
            .send(body)
            .map_err(|error| Error::Away(error.to_string()))?;
        let status = response.status().as_u16();
        let header = response.headers().get("X-ClickHouse-Exception-Code");
        let code: Option<u32> = header.and_then(|code| code.to_str().ok()?.parse().ok());
        let is_success = status == 200 && code.is_none();
        // Sent with each answer, that to an INSERT included.
        if is_success && response.headers().contains_key("X-ClickHouse-Query-Id") {
            return Ok(response);
        }
        let mut body = Vec::new();
        // What cannot be read of it is not worth another error: the status says enough.
        let _ = response
            .body_mut()
            .as_reader()
            .take(EXCEPTION_BYTES_MAX)
            .read_to_end(&mut body);
        let text = String::from_utf8_lossy(&body);
        let code = code.or_else(|| text.strip_prefix("Code: ")?.split_once('.')?.0.parse().ok());
        let text = one_line(text.trim());
        if is_success {
            return Err(Error::Stranger(text));
        }
        Err(Error::Refused { status, code, text })
    }

    /// Inserts `body`; `Ok` says that it is stored, views included.
    ///
    /// # Errors
    /// When it may not be.
    pub fn insert(
        &self,
        query: &str,
        token: &str,
        settings: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), Error> {
        let mut all = vec![
            ("query", query),
            ("insert_deduplication_token", token),
            // Without it a repeat that the table drops would be dropped for its views as well, also where the
            // view failed the first time.
            ("deduplicate_blocks_in_dependent_materialized_views", "1"),
            // Answered when it is stored, with the status of the whole.
            ("async_insert", "0"),
            ("wait_end_of_query", "1"),
        ];
        all.extend_from_slice(settings);
        let response = self.post(&all, body)?;
        // Read to its end: the connection is used again only then.
        let mut body = response.into_body();
        body.read_to_vec()
            .map(drop)
            .map_err(|error| Error::Away(error.to_string()))
    }

    /// Runs a query and gives each line of its answer, tab-separated, to `line`.
    ///
    /// # Errors
    /// When there is no whole answer; or what `line` says of one.
    pub fn lines(&self, query: &str, line: &mut dyn FnMut(&str) -> Result<(), String>) -> Result<(), Error> {
        let settings = [("default_format", "TabSeparated"), ("wait_end_of_query", "1")];
        let response = self.post(&settings, query.as_bytes())?;
        let reader = BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader());
        for text in reader.lines() {
            let text = text.map_err(|error| Error::Away(error.to_string()))?;
            line(&text).map_err(Error::Away)?;
        }
        Ok(())
    }
}

/// An exception comes with line breaks; a log line has none.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Reads a file of header lines, `Name: value`; empty lines and those that begin with # are passed over.
///
/// # Errors
/// When it cannot be read, or a line is none. Values are not repeated in the error: they are secrets.
pub fn read_headers(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| match line.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("{}:{}: expected Name: value", path.display(), index + 1)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let table = || Table::parse("xtcp.rows").unwrap();
        for (text, url, named) in [
            ("http://h:8123/xtcp.rows", "http://h:8123/", Some(table())),
            (
                "https://[::1]:8443/xtcp.rows/",
                "https://[::1]:8443/",
                Some(table()),
            ),
            ("http://h:8123", "http://h:8123/", None),
        ] {
            assert_eq!(parse_url(text), Ok((url.to_owned(), named)));
        }
        for text in [
            "h:8123/a.b",
            "ftp://h/a.b",
            "http:///a.b",
            "http://h/a",
            "http://h/a.b;",
            "http://h/a.b?c=d",
        ] {
            assert!(parse_url(text).unwrap_err().contains("expected"), "{text}");
        }
        let error = parse_url("http://me:secret@h/a.b").unwrap_err();
        assert!(error.contains("headers-file") && !error.contains("secret"));
    }

    #[test]
    fn headers_are_read_and_not_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# who\nX-ClickHouse-User: me\n\nX-ClickHouse-Key:a:b\n",
        )
        .unwrap();
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read_headers(file.path()).unwrap(),
            [owned("X-ClickHouse-User", "me"), owned("X-ClickHouse-Key", "a:b")]
        );
        std::fs::write(file.path(), "ok: 1\nsecret\n").unwrap();
        let error = read_headers(file.path()).unwrap_err();
        assert!(error.contains(":2: expected") && !error.contains("secret"));
    }
}
