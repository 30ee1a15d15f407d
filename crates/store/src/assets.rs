//! Assets, exclusions, blackouts.
use crate::{Result, Store};
use model::asset::{Asset, Blackout, Exclusion};
use model::audit::AuditEntry;
use model::{AssetId, BlackoutId, ExclusionId};

impl Store {
    /// All, by range.
    pub async fn assets(&self) -> Result<Vec<Asset>> {
        unimplemented!()
    }
    pub async fn asset(&self, id: AssetId) -> Result<Option<Asset>> {
        unimplemented!()
    }
    /// Conflict when an asset of the same range exists.
    pub async fn insert_asset(&self, asset: &Asset, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn update_asset(&self, asset: &Asset, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_asset(&self, id: AssetId, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// All or nothing.
    pub async fn apply_asset_import(
        &self,
        inserts: &[Asset],
        updates: &[Asset],
        deletes: &[AssetId],
        audit: &AuditEntry,
    ) -> Result<()> {
        unimplemented!()
    }
    pub async fn exclusions(&self) -> Result<Vec<Exclusion>> {
        unimplemented!()
    }
    pub async fn insert_exclusion(&self, exclusion: &Exclusion, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_exclusion(&self, id: ExclusionId, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn blackouts(&self) -> Result<Vec<Blackout>> {
        unimplemented!()
    }
    pub async fn insert_blackout(&self, blackout: &Blackout, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn delete_blackout(&self, id: BlackoutId, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
}
