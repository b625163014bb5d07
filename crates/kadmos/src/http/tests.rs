//! Servers on loopback that say what a test tells them to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A server that gives each connection the next of its answers, byte for byte, and notes what it was asked.
pub(crate) struct Server {
    scheme: &'static str,
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> PageUrl {
        format!("{}://localhost:{}{path}", self.scheme, self.port).parse().unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole answer with this text.
pub(crate) fn page(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

pub(crate) async fn serve(answers: Vec<String>) -> Server {
    start(answers, None).await
}

async fn start(answers: Vec<String>, tls: Option<TlsAcceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        let mut answers = VecDeque::from(answers);
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answers.pop_front().unwrap_or_default();
            match &tls {
                None => answer_one(stream, answer, &noted).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        answer_one(stream, answer, &noted).await;
                    }
                }
            }
        }
    });
    Server { scheme, port, asked, task }
}

async fn answer_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: String,
    asked: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    asked.lock().unwrap().push(String::from_utf8(head).unwrap());
    // Whoever has read enough hangs up.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn fetcher() -> Fetcher {
    Fetcher::trusting(RootCertStore::empty(), "test/1".into()).unwrap()
}

async fn get(server: &Server, bytes_max: usize) -> Result<String, String> {
    let url = server.url("/peers.txt?v=1");
    let got = tokio::time::timeout(Duration::from_secs(20), async { fetcher().get(&url, bytes_max).await });
    let page = got.await.expect("it ends").map_err(|error| error.to_string())?;
    Ok(String::from_utf8(page.to_vec()).unwrap())
}

#[tokio::test]
async fn a_page_is_got_whole() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_owned();
    let to_the_end = "HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned();
    let server = serve(vec![page("hello"), chunked, to_the_end]).await;
    assert_eq!(get(&server, 100).await.unwrap(), "hello");
    assert_eq!(get(&server, 5).await.unwrap(), "abcde");
    assert_eq!(get(&server, 100).await.unwrap(), "until the end");
    let asked = &server.asked()[0];
    assert!(asked.starts_with("GET /peers.txt?v=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: localhost:{}\r\n", server.port)), "{asked}");
    assert!(asked.contains("user-agent: test/1\r\n"), "{asked}");
}

/// Goal: whatever a server says, it costs no more than the bounds.
#[tokio::test]
async fn answers_beyond_the_bounds_are_errors() {
    let endless_head = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(HEADERS_MAX + 20));
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX * 2));
    for (answer, expected) in [
        (page(&"x".repeat(11)), "it has more than 10 bytes"),
        (
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", "4\r\nabcd\r\n".repeat(9)),
            "it has more than 10 bytes",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n".into(), "the server answered 404 Not Found"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".into(), "the server answered 304"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".into(), "it broke off"),
        ("SSH-2.0-OpenSSH\r\n".into(), ""),
        (String::new(), ""),
        (endless_head, ""),
        (long_head, ""),
        (moved("gopher://x/"), "it has moved to \"gopher://x/\", which is no URL"),
    ] {
        let server = serve(vec![answer]).await;
        let error = get(&server, 10).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let nobody = serve(Vec::new()).await;
    let url = nobody.url("/");
    nobody.task.abort();
    while !nobody.task.is_finished() {
        tokio::task::yield_now().await;
    }
    let error = fetcher().get(&url, 10).await.unwrap_err().to_string();
    assert!(error.starts_with("no connection to localhost"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_a_bounded_number_of_times() {
    let target = serve(vec![page("here")]).await;
    let server = serve(vec![moved("other"), moved(&target.url("/x").to_string())]).await;
    assert_eq!(get(&server, 10).await.unwrap(), "here");
    assert!(server.asked()[1].starts_with("GET /other HTTP/1.1\r\n"));
    let circle = serve(vec![moved("/again"); 20]).await;
    assert_eq!(get(&circle, 10).await.unwrap_err(), "it has moved more than 5 times");
    assert_eq!(circle.asked().len(), REDIRECTS_MAX + 1);
}

/// Goal: a page comes only from whom an authority that is trusted has named, and never goes on without TLS.
#[tokio::test]
async fn certificates_are_checked() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let certificate = own.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(own.key_pair.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let plain = serve(vec![page("plain")]).await;
    let answers = vec![page("secret"), moved(&plain.url("/").to_string())];
    // The refused handshake takes no answer: the first one is its.
    let answers = [vec![String::new()], answers].concat();
    let server = start(answers, Some(Arc::new(config).into())).await;
    let url = server.url("/peers.txt");
    let error = fetcher().get(&url, 10).await.unwrap_err().to_string();
    assert!(error.starts_with("no TLS with localhost"), "{error}");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = Fetcher::trusting(roots, "test/1".into()).unwrap();
    assert_eq!(trusting.get(&url, 10).await.unwrap(), "secret");
    assert!(matches!(trusting.get(&url, 10).await, Err(FetchError::Downgrade)));
    assert!(plain.asked().is_empty());
}
