//! The bytes of an HTTP connection: as they are, or through TLS. rustls does no I/O of its own; it is
//! given the same non-blocking socket.

use super::socket::Socket;
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto, pki_types::ServerName};
use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    sync::Arc,
};

/// What it takes to start TLS on a new connection.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Tls {
    /// Trusts `roots`, or else the certificates of the system; SSL_CERT_FILE and SSL_CERT_DIR are
    /// honoured for those. Read once, at start.
    pub fn new(host: &str, roots: Option<RootCertStore>) -> Result<Tls, String> {
        let roots = match roots {
            Some(roots) => roots,
            None => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let why = found.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
                    return Err(format!(
                        "expected trusted certificates on this system, found none{why}; \
                         install ca-certificates or set SSL_CERT_FILE"
                    ));
                }
                roots
            }
        };
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("expected a host name or address for TLS, got {host:?}"))?;
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls {
            config: Arc::new(config),
            server,
        })
    }
}

/// What lies between HTTP and the socket.
#[derive(Debug)]
pub(super) enum Transport {
    Plain,
    Tls(Box<ClientConnection>),
}

impl Transport {
    pub fn new(tls: Option<&Tls>) -> Result<Transport, String> {
        let Some(tls) = tls else {
            return Ok(Transport::Plain);
        };
        match ClientConnection::new(Arc::clone(&tls.config), tls.server.clone()) {
            Ok(connection) => Ok(Transport::Tls(Box::new(connection))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes what fits of `parts`, one behind the other.
    pub fn write(&mut self, socket: &mut Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Plain => socket.write_vectored(parts),
            Transport::Tls(connection) => {
                rustls::Stream::new(&mut **connection, socket).write_vectored(parts)
            }
        }
    }

    /// WouldBlock until everything written has reached the socket.
    pub fn flush(&mut self, socket: &mut Socket) -> io::Result<()> {
        match self {
            Transport::Plain => Ok(()),
            Transport::Tls(connection) => {
                rustls::Stream::new(&mut **connection, socket).flush()?;
                match connection.wants_write() {
                    true => Err(ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            }
        }
    }

    pub fn read(&mut self, socket: &mut Socket, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain => socket.read(buffer),
            Transport::Tls(connection) => match rustls::Stream::new(&mut **connection, socket).read(buffer) {
                // Closed without TLS's own good-bye: HTTP knows by itself whether the answer is whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }

    /// Whether the two sides still agree on keys.
    pub fn is_handshaking(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(connection) => connection.is_handshaking(),
        }
    }

    /// Whether room in the socket helps on. A TLS handshake that waits for the server has plenty.
    pub fn waits_for_room(&self, sending: bool) -> bool {
        match self {
            Transport::Plain => sending,
            Transport::Tls(connection) => connection.wants_write(),
        }
    }
}
