//! A page of multiaddresses, one a line, by `http` or `https`.

use tokio::task::spawn_blocking;
use tokio_rustls::rustls::RootCertStore;

use super::{Found, list};
use crate::http::{Fetcher, PageUrl};

/// Gets the page and tells of all its peers at once.
pub(crate) async fn read(url: PageUrl, agent: String, found: Found) -> Result<(), String> {
    // Authorities change as certificates do, so they are read anew each time; that is every few minutes at most.
    let own = agent.clone();
    let machine =
        spawn_blocking(move || Fetcher::of_machine(own)).await.map_err(|error| error.to_string())?;
    let fetcher = match machine {
        Ok(fetcher) => fetcher,
        Err(reason) if url.is_https() => return Err(reason),
        // Nobody is trusted: a redirect to https fails.
        Err(_) => Fetcher::trusting(RootCertStore::empty(), agent)?,
    };
    fetch(&fetcher, &url, found).await
}

async fn fetch(fetcher: &Fetcher, url: &PageUrl, found: Found) -> Result<(), String> {
    let page = fetcher.get(url, list::BYTES_MAX).await.map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&page).map_err(|_| "it is no text".to_owned())?;
    list::tell(text, found).await
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::http::tests::{page, serve};

    #[tokio::test]
    async fn a_page_names_peers_and_mistakes_cost_a_line() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let text = format!("# ours\n/ip4/127.0.0.1/tcp/1/p2p/{a}\nnonsense\n/ip4/127.0.0.1/tcp/2/p2p/{b}\n");
        let server = serve(vec![page(&text), page("\u{0}")]).await;
        let (sender, mut found) = mpsc::channel(4);
        let result = read(server.url("/peers.txt"), "test/1".into(), Found(sender)).await;
        assert!(result.unwrap_err().starts_with("line 3: "));
        let peers: Vec<_> = found.recv().await.unwrap().into_iter().map(|peer| peer.id).collect();
        assert_eq!(peers, [a, b]);
    }
}
