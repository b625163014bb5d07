//! `http` and `https` URLs.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// An absolute URL of a page that lists peers to join through, for [`crate::DhtBuilder::bootstrap_url`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageUrl(Uri);

/// Why a text is no URL of a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}, expected a URL such as https://example.org/peers.txt")]
pub struct PageUrlError {
    reason: String,
}

impl FromStr for PageUrl {
    type Err = PageUrlError;

    fn from_str(text: &str) -> Result<Self, PageUrlError> {
        let refused = |reason: String| PageUrlError { reason };
        let uri = Uri::from_str(text).map_err(|error| refused(error.to_string()))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(other) => return Err(refused(format!("the scheme is {other}"))),
            None => return Err(refused("it has no scheme".into())),
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            // They would be written to logs, and sent to whom a redirect names.
            return Err(refused("it has a name and password".into()));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(refused("it has no host".into()));
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PageUrl {
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host, without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default(); // never empty, see above
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub(super) fn port(&self) -> u16 {
        let default = if self.is_https() { 443 } else { 80 };
        self.0.port_u16().unwrap_or(default)
    }

    /// For the `Host` header.
    pub(super) fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query, for the request line.
    pub(super) fn target(&self) -> &str {
        self.0.path_and_query().map_or("/", |target| target.as_str())
    }

    /// Where a `Location` header of this page points: RFC 3986, 5.2, without removing dots, which servers do.
    pub(super) fn join(&self, location: &str) -> Result<Self, PageUrlError> {
        let scheme = if self.is_https() { "https" } else { "http" };
        let authority = self.authority();
        let path = self.0.path();
        let first = location.split(['/', '?', '#']).next().unwrap_or_default();
        let whole = if first.ends_with(':') {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{path}{location}")
        } else {
            let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            format!("{scheme}://{authority}{directory}{location}")
        };
        whole.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_absolute_and_hold_no_secrets() {
        let url: PageUrl = "https://a.example:8443/x/peers.txt?v=1".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.target()), ("a.example", 8443, "/x/peers.txt?v=1"));
        assert!(url.is_https());
        let url: PageUrl = "http://[::1]".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.target(), url.authority()), ("::1", 80, "/", "[::1]"));
        for (text, reason) in [
            ("ftp://a.example/", "the scheme is ftp"),
            ("/peers.txt", "it has no scheme"),
            ("a.example", "it has no scheme"),
            ("http://me:pw@a.example/", "it has a name and password"),
            ("http:///x", ""),
            ("http://a example/", ""),
            ("", ""),
        ] {
            let error = text.parse::<PageUrl>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("expected a URL such as"), "{text}: {error}");
        }
    }

    #[test]
    fn locations_are_read_in_every_form() {
        let url: PageUrl = "https://a.example/x/peers?v=1".parse().unwrap();
        for (location, expected) in [
            ("https://b.example/y", "https://b.example/y"),
            ("http://b.example/y", "http://b.example/y"),
            ("//b.example/y", "https://b.example/y"),
            ("/y", "https://a.example/y"),
            ("y", "https://a.example/x/y"),
            ("/y?to=https://b.example/", "https://a.example/y?to=https://b.example/"),
            ("?v=2", "https://a.example/x/peers?v=2"),
        ] {
            assert_eq!(url.join(location).unwrap().to_string(), expected);
        }
        assert!(url.join("ftp://a.example/").is_err());
    }
}
