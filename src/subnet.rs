//! An address or a network of addresses, as the configuration writes them.

use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

/// An address, or a network in the notation of RFC 4632.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Subnet {
    address: IpAddr,
    prefix: u32,
}

impl Subnet {
    /// Whether `address`, in its canonical form, is in it.
    pub(crate) fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address or network: write 10.0.5.20, 10.0.6.0/24 or fd00::/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if prefix > most {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_addresses_with_its_prefix() {
        for (subnet, address, holds) in [
            ("0.0.0.0/0", "192.0.2.1", true),
            ("::/0", "2001:db8::1", true),
            ("10.0.6.0/23", "10.0.7.255", true),
            ("10.0.6.0/23", "10.0.8.0", false),
            ("10.0.5.20", "10.0.5.20", true),
            ("10.0.5.20", "10.0.5.21", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("0.0.0.0/0", "::1", false),
        ] {
            let (subnet, address): (Subnet, IpAddr) = (subnet.parse().unwrap(), address.parse().unwrap());
            assert_eq!(subnet.holds(address), holds, "{subnet:?} {address}");
        }
        for wrong in [
            "",
            "pacs.example",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/x",
            "::/129",
        ] {
            assert!(
                wrong.parse::<Subnet>().unwrap_err().contains("write 10.0.5.20"),
                "{wrong}"
            );
        }
    }
}
