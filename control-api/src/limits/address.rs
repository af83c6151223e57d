//! From which address a request came, as far as that can be known.
//!
//! Not here: what is counted by it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::HeaderMap,
};

/// The client's address, as limits count it: an IPv6 address by its /64, as that is what one customer has. It is the peer's, or
/// what trusted proxies say of whom they speak for.
pub(super) fn of_client(request: &Request, trusted: &[IpAddr]) -> String {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    // Without a peer, all are counted together: that is too strict rather than no limit.
    peer.map_or_else(|| "unknown".to_owned(), |peer| counted(client(peer, request.headers(), trusted)))
}

/// The right-most address that no trusted proxy has. What stands left of it, the client may have written itself.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|proxy| proxy.to_canonical() == *address);
    let mut client = peer.to_canonical();
    let entries = headers.get_all("x-forwarded-for").iter().rev();
    let mut entries = entries.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    while is_trusted(&client) {
        match entries.next().map(|entry| parsed(entry.trim())) {
            Some(Some(before)) => client = before,
            // Nothing more, or no address: the last that is known.
            _ => break,
        }
    }
    client
}

/// With or without a port.
fn parsed(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

fn counted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            format!("{}/64", Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let trusted = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), "fd00::1".parse().unwrap()];
        let found = counted(client(peer.parse().unwrap(), &headers, &trusted));
        assert_eq!(found, expected, "{peer} {forwarded:?}");
    }

    #[test]
    fn only_trusted_proxies_say_for_whom_they_speak() {
        check("203.0.113.9", &[], "203.0.113.9");
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["6.6.6.6", "198.51.100.1,10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("10.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::/64");
        check("fd00::1", &["[2001:db8::5]"], "2001:db8::/64");
        check("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1");
        for nonsense in ["", "unknown", "198.51.100.1, x", ",", "localhost"] {
            check("10.0.0.1", &[nonsense], "10.0.0.1");
        }
        check("10.0.0.1", &["10.0.0.2, 10.0.0.1"], "10.0.0.2");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        check("2001:db8:1:2:3:4:5:6", &[], "2001:db8:1:2::/64");
        check("2001:db8:1:2:ffff::1", &[], "2001:db8:1:2::/64");
        check("2001:db8:1:3::1", &[], "2001:db8:1:3::/64");
    }
}
