//! One page by HTTP, within bounds on everything that its server decides.
//!
//! HTTP/1.1, over TLS with the certificates of authorities that the machine trusts. No proxies, cookies or compression.

mod url;

use std::sync::Arc;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub use self::url::{PageUrl, PageUrlError};

/// A page has moved at most this often; browsers allow 20, lists of peers move once or twice.
const REDIRECTS_MAX: usize = 5;
/// Of a response's head: hyper refuses longer ones.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Of a response.
const HEADERS_MAX: usize = 100;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no connection to {host}: {error}")]
    Connect { host: String, error: std::io::Error },
    #[error("no TLS with {host}: {error}")]
    Tls { host: String, error: String },
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("it has moved more than {REDIRECTS_MAX} times")]
    Redirects,
    #[error("it has moved to {location:?}, which is no URL: {error}")]
    Location { location: String, error: PageUrlError },
    #[error("it has moved from https to http")]
    Downgrade,
    #[error("it has more than {max} bytes")]
    TooLarge { max: usize },
    #[error("it broke off: {0}")]
    Body(String),
}

/// Gets pages. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetcher {
    tls: TlsConnector,
    agent: String,
}

impl Fetcher {
    /// Trusts the authorities that the machine trusts. Blocks on the disk for some milliseconds.
    ///
    /// Errors: there are none.
    pub(crate) fn of_machine(agent: String) -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!("this machine trusts no certificate authority{why}"));
        }
        Self::trusting(roots, agent)
    }

    /// Trusts these authorities.
    pub(crate) fn trusting(roots: RootCertStore, agent: String) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config).into(), agent })
    }

    /// The page's bytes, at most `bytes_max`; follows up to [`REDIRECTS_MAX`] redirects. How long it may take is the caller's
    /// to say: dropping the future closes the connection.
    pub(crate) async fn get(&self, url: &PageUrl, bytes_max: usize) -> Result<Bytes, FetchError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            match self.try_get(&url, bytes_max).await? {
                Answer::Page(page) => return Ok(page),
                Answer::Moved(to) if url.is_https() && !to.is_https() => return Err(FetchError::Downgrade),
                Answer::Moved(to) => url = to,
            }
        }
        Err(FetchError::Redirects)
    }

    async fn try_get(&self, url: &PageUrl, bytes_max: usize) -> Result<Answer, FetchError> {
        let host = url.host();
        let failed = |error| FetchError::Connect { host: host.to_owned(), error };
        let stream = TcpStream::connect((host, url.port())).await.map_err(failed)?;
        if !url.is_https() {
            return self.ask(stream, url, bytes_max).await;
        }
        let failed = |error: String| FetchError::Tls { host: host.to_owned(), error };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| failed(error.to_string()))?;
        self.ask(stream, url, bytes_max).await
    }

    async fn ask<S>(&self, stream: S, url: &PageUrl, bytes_max: usize) -> Result<Answer, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let request = Request::get(url.target())
            .header(HOST, url.authority())
            .header(USER_AGENT, &self.agent)
            .header(ACCEPT, "text/plain, */*;q=0.1")
            .body(Empty::<Bytes>::new())
            .map_err(|error| FetchError::Body(error.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            if status.is_redirection()
                && let Some(location) = response.headers().get(LOCATION)
            {
                let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                return match url.join(&location) {
                    Ok(to) => Ok(Answer::Moved(to)),
                    Err(error) => Err(FetchError::Location { location, error }),
                };
            }
            if !status.is_success() {
                return Err(FetchError::Status(status));
            }
            let body = Limited::new(response.into_body(), bytes_max).collect().await.map_err(|error| {
                match error.downcast_ref::<LengthLimitError>() {
                    Some(_) => FetchError::TooLarge { max: bytes_max },
                    None => FetchError::Body(error.to_string()),
                }
            })?;
            Ok(Answer::Page(body.to_bytes()))
        };
        // The connection moves bytes while the exchange waits for them; how it fails, the exchange tells.
        let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
        tokio::select! {
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    }
}

enum Answer {
    Page(Bytes),
    Moved(PageUrl),
}

#[cfg(test)]
pub(crate) mod tests;
