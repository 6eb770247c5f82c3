//! Reverse proxies before the server, and whose requests they bring.
//!
//! Invariant: a header counts only as far as those who wrote it are trusted. Each proxy adds the address that it heard from at the end, so
//! the header is read from there: the first address that is no trusted proxy's is the client, and whatever stands before it is the client's
//! own word and is not looked at. Only one header is read, the one that the proxies write: another that they pass on untouched is the
//! client's own word, too.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header};
use serde::Deserialize;

use crate::subnet::Subnet;

/// The proxies whose word is taken for where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where they are.
    pub trusted: TrustedProxies,
    /// Where they write it.
    pub header: ForwardedHeader,
}

/// Addresses and networks of proxies, with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedProxies(Arc<[Subnet]>);

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(|network| network.trim().parse());
        networks.collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for TrustedProxies {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// In which header proxies say whose request it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses with commas between them, as nearly every proxy writes it.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

impl FromStr for ForwardedHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("the headers are x-forwarded-for and forwarded"),
        }
    }
}

impl ForwardedHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// The address in one element of the header; none where it names none (`unknown`, `_hidden`) or cannot be understood.
    fn address(self, element: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => node(element.trim()),
            Self::Forwarded => {
                let named = |pair: &str| {
                    let (name, value) = pair.trim().split_once('=')?;
                    name.eq_ignore_ascii_case("for")
                        .then(|| value.trim_matches('"').to_owned())
                };
                node(&element.split(';').find_map(named)?)
            }
        }
    }
}

impl Proxies {
    /// Where a request comes from that `peer` sent: from `peer`, or from whom the proxies say.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        // Split at every comma, from the end: by the grammar one may stand between quotes, but a quote that a client left open must not
        // swallow what a proxy wrote after it.
        let mut elements = headers
            .get_all(self.header.name())
            .iter()
            .rev()
            .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        let mut client = peer.to_canonical();
        while self.trust(client) {
            // a proxy that does not say, or not so that it can be understood, is itself who is known
            let element = elements.next().and_then(|element| str::from_utf8(element).ok());
            let said = element.and_then(|element| self.header.address(element));
            let Some(before) = said else { break };
            client = before.to_canonical();
        }
        client
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.trusted.0.iter().any(|subnet| subnet.holds(address))
    }
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    text.parse().ok().or_else(bare).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// Whom a request is taken to come from that `peer` sent with these headers, where 10.0.0.0/24 and `fd00::1` are proxies.
    fn client(header: &str, peer: &str, sent: &[(&'static str, &str)]) -> String {
        let proxies = Proxies {
            trusted: "10.0.0.0/24, fd00::1".parse().unwrap(),
            header: header.parse().unwrap(),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_trusted_proxy_says_whose_request_it_brings() {
        for (peer, said, from) in [
            ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
            ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
            ("fd00::1", "2001:db8::1", "2001:db8::1"),
            ("fd00::1", "[2001:db8::1]", "2001:db8::1"),
            ("fd00::1", "[2001:db8::1]:4711", "2001:db8::1"),
            // through several
            ("10.0.0.1", "192.0.2.1, 10.0.0.2 ,10.0.0.3", "192.0.2.1"),
            // what the client itself had written stands before what the proxies add
            ("10.0.0.1", "198.51.100.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("10.0.0.1", "10.0.0.9, 192.0.2.1", "192.0.2.1"),
            // a client among the proxies
            ("10.0.0.1", "10.0.0.7", "10.0.0.7"),
            // not said, or not so that it can be understood
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1, pacs.example", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1, ü, 10.0.0.2", "10.0.0.2"),
            // not even by what its client had written
            ("10.0.0.1", "ü, \"(, 192.0.2.1", "192.0.2.1"),
        ] {
            let sent = [("x-forwarded-for", said)];
            assert_eq!(client("x-forwarded-for", peer, &sent), from, "{said} from {peer}");
        }
        assert_eq!(client("x-forwarded-for", "10.0.0.1", &[]), "10.0.0.1");
        let lines = [
            ("x-forwarded-for", "198.51.100.9"),
            ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
        ];
        assert_eq!(client("x-forwarded-for", "10.0.0.1", &lines), "192.0.2.1");
    }

    #[test]
    fn the_standard_header_says_the_same() {
        for (said, from) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:4711\";proto=https;by=10.0.0.1", "192.0.2.1"),
            ("proto=https;for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            (
                "for=198.51.100.9, for=192.0.2.1;by=10.0.0.2, for=10.0.0.2",
                "192.0.2.1",
            ),
            // a quote that a client left open
            ("for=\"198.51.100.9, for=192.0.2.1", "192.0.2.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"_hidden\"", "10.0.0.1"),
            ("by=10.0.0.1;proto=https", "10.0.0.1"),
            ("for=192.0.2.1, for=", "10.0.0.1"),
        ] {
            assert_eq!(
                client("forwarded", "10.0.0.1", &[("forwarded", said)]),
                from,
                "{said}"
            );
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let forged = [
            ("x-forwarded-for", "198.51.100.9"),
            ("forwarded", "for=198.51.100.9"),
        ];
        for header in ["x-forwarded-for", "Forwarded"] {
            assert_eq!(client(header, "192.0.2.1", &forged), "192.0.2.1");
            assert_eq!(client(header, "10.0.1.1", &forged), "10.0.1.1");
        }
        // a proxy that passes on a header that it does not write
        assert_eq!(client("x-forwarded-for", "10.0.0.1", &forged[1..]), "10.0.0.1");
        assert_eq!(client("forwarded", "10.0.0.1", &forged[..1]), "10.0.0.1");
        let nobody = Proxies::default();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.9"));
        let peer = "127.0.0.1".parse().unwrap();
        assert_eq!(nobody.client(peer, &headers), peer);
    }

    #[test]
    fn says_what_is_wrong() {
        for wrong in ["", "10.0.0.0/33", "10.0.0.1,", "proxy.example", "*"] {
            let said = wrong.parse::<TrustedProxies>().unwrap_err();
            assert!(said.contains("write 10.0.5.20"), "{wrong}: {said}");
        }
        assert!(
            "x-real-ip"
                .parse::<ForwardedHeader>()
                .unwrap_err()
                .contains("x-forwarded-for")
        );
    }
}
