//! What may be probed now: the assets less the exclusions, less the blackouts that hold.
//!
//! Everything that hands out or judges work reads it from here. The node checks again before every probe.

use model::address::IpRange;
use model::asset::{Asset, Blackout};
use model::{Scope, Ts};
use plan::{silent_ranges, silent_until};
use store::{Store, StoreError};

/// The assets, the scope they make, and the times to keep quiet.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The asset list.
    pub assets: Vec<Asset>,
    /// Assets less exclusions.
    pub scope: Scope,
    /// Blackouts, whether they hold or not.
    pub blackouts: Vec<Blackout>,
}

/// What of a job may be probed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This much; empty when all of it has left the scope.
    Now(Scope),
    /// All of what is in scope has to be left in peace until then.
    Later(Ts),
}

impl Authority {
    /// As the database has it at this moment.
    pub async fn load(store: &Store) -> Result<Authority, StoreError> {
        let assets = store.assets().await?;
        let exclusions = store.exclusions().await?;
        let blackouts = store.blackouts().await?;
        let allowed: Vec<IpRange> = assets.iter().map(|a| a.range).collect();
        let excluded: Vec<IpRange> = exclusions.iter().map(|e| e.range).collect();
        Ok(Authority { scope: Scope::new(&allowed, &excluded), assets, blackouts })
    }

    /// What of the targets may be probed at `now`. The scope given is no wider than the targets: a job is told what it
    /// needs and no more.
    pub fn judge(&self, targets: &[IpRange], now: Ts) -> Verdict {
        let allowed = self.scope.restrict(targets);
        match silent_until(&self.blackouts, &allowed, now) {
            Some(until) => Verdict::Later(until),
            None => Verdict::Now(Scope::new(&allowed, &silent_ranges(&self.blackouts, now))),
        }
    }
}
