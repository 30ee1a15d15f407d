//! Whose an address is: the asset with the most specific range that holds it.
//!
//! Where the asset list comes from is left to the server.

use model::asset::Asset;
use std::net::IpAddr;

/// The asset that answers for the address: of those that hold it the one with the fewest addresses, and of equals the
/// one that was added first.
pub fn asset_for(ip: IpAddr, assets: &[Asset]) -> Option<&Asset> {
    assets.iter().filter(|a| a.range.contains(ip)).min_by_key(|a| (a.range.len(), a.created_at, a.id))
}
