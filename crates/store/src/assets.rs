//! What an organisation owns and may probe: assets, exclusions, blackouts. What of it is in scope is `model::Scope`'s.

use crate::audit::append;
use crate::sql::*;
use crate::{Result, Store, StoreError};
use model::asset::{Asset, Blackout, Exclusion};
use model::audit::AuditEntry;
use model::{AssetId, BlackoutId, ExclusionId, IpRange};
use sea_orm::{ConnectionTrait, QueryResult, Value};

const ASSET: &str = "id, ip_first, ip_last, name, owner, zone, weight, tags, observe_until, rate_pps, per_target_pps, check_ceiling, created_at, updated_at";

fn asset_values(a: &Asset) -> Vec<Value> {
    vec![
        a.id.value(),
        a.range.first().value(),
        a.range.last().value(),
        text(&a.name),
        value(&a.owner),
        a.zone.value(),
        a.weight.value(),
        json(&a.tags),
        value(&a.observe_until),
        value(&a.rate_pps),
        value(&a.per_target_pps),
        a.check_ceiling.value(),
        a.created_at.value(),
        a.updated_at.value(),
    ]
}

fn asset_from(row: &QueryResult) -> Result<Asset> {
    Ok(Asset {
        id: get(row, "id")?,
        range: range_from(row)?,
        name: get(row, "name")?,
        owner: opt(row, "owner")?,
        zone: get(row, "zone")?,
        weight: get(row, "weight")?,
        tags: get_json(row, "tags")?,
        observe_until: opt(row, "observe_until")?,
        rate_pps: opt(row, "rate_pps")?,
        per_target_pps: opt(row, "per_target_pps")?,
        check_ceiling: get(row, "check_ceiling")?,
        created_at: get(row, "created_at")?,
        updated_at: get(row, "updated_at")?,
    })
}

pub(crate) fn range_from(row: &QueryResult) -> Result<IpRange> {
    IpRange::new(get(row, "ip_first")?, get(row, "ip_last")?).ok_or_else(|| bad("ip_first", "the range runs backwards"))
}

async fn insert_assets<C: ConnectionTrait>(db: &C, assets: &[Asset]) -> Result<()> {
    for asset in assets {
        // One by one, so that a conflict names its range; an import is a few thousand rows at most.
        let inserted = insert(db, &format!("INSERT INTO assets ({ASSET})"), vec![asset_values(asset)], "").await;
        naming(inserted, || format!("an asset of range {}", asset.range))?;
    }
    Ok(())
}

async fn update<C: ConnectionTrait>(db: &C, asset: &Asset) -> Result<()> {
    let sql = "UPDATE assets SET ip_first = $2, ip_last = $3, name = $4, owner = $5, zone = $6, weight = $7, tags = $8, \
               observe_until = $9, rate_pps = $10, per_target_pps = $11, check_ceiling = $12, created_at = $13, \
               updated_at = $14 WHERE id = $1";
    let updated = run_one(db, sql, asset_values(asset), || format!("asset {}", asset.id)).await;
    naming(updated, || format!("an asset of range {}", asset.range))
}

impl Store {
    /// Every asset, by range.
    pub async fn assets(&self) -> Result<Vec<Asset>> {
        let rows = all(self.read(), &format!("SELECT {ASSET} FROM assets ORDER BY ip_first, ip_last"), vec![]).await?;
        rows.iter().map(asset_from).collect()
    }

    /// One asset.
    pub async fn asset(&self, id: AssetId) -> Result<Option<Asset>> {
        let row = one(self.read(), &format!("SELECT {ASSET} FROM assets WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(asset_from).transpose()
    }

    /// [`StoreError::Conflict`] when an asset has the same range.
    pub async fn insert_asset(&self, asset: &Asset, audit: &AuditEntry) -> Result<()> {
        self.apply_asset_import(std::slice::from_ref(asset), &[], &[], audit).await
    }

    /// Replaces it.
    pub async fn update_asset(&self, asset: &Asset, audit: &AuditEntry) -> Result<()> {
        self.apply_asset_import(&[], std::slice::from_ref(asset), &[], audit).await
    }

    /// Removes it; what was seen in its range stays.
    pub async fn delete_asset(&self, id: AssetId, audit: &AuditEntry) -> Result<()> {
        self.apply_asset_import(&[], &[], &[id], audit).await
    }

    /// All of it or nothing, with one audit entry.
    pub async fn apply_asset_import(
        &self,
        inserts: &[Asset],
        updates: &[Asset],
        deletes: &[AssetId],
        audit: &AuditEntry,
    ) -> Result<()> {
        let tx = self.begin().await?;
        for id in deletes {
            run_one(&tx, "DELETE FROM assets WHERE id = $1", vec![id.value()], || format!("asset {id}")).await?;
        }
        for asset in updates {
            update(&tx, asset).await?;
        }
        insert_assets(&tx, inserts).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Every exclusion, by range.
    pub async fn exclusions(&self) -> Result<Vec<Exclusion>> {
        let sql = "SELECT id, ip_first, ip_last, reason, created_at FROM exclusions ORDER BY ip_first, ip_last";
        let from = |row: &QueryResult| -> Result<Exclusion> {
            Ok(Exclusion {
                id: get(row, "id")?,
                range: range_from(row)?,
                reason: get(row, "reason")?,
                created_at: get(row, "created_at")?,
            })
        };
        all(self.read(), sql, vec![]).await?.iter().map(from).collect()
    }

    /// [`StoreError::Conflict`] when the same range is excluded already.
    pub async fn insert_exclusion(&self, exclusion: &Exclusion, audit: &AuditEntry) -> Result<()> {
        let e = exclusion;
        let row = vec![e.id.value(), e.range.first().value(), e.range.last().value(), text(&e.reason), e.created_at.value()];
        let tx = self.begin().await?;
        let inserted = insert(&tx, "INSERT INTO exclusions (id, ip_first, ip_last, reason, created_at)", vec![row], "").await;
        naming(inserted, || format!("an exclusion of range {}", e.range))?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Removes it.
    pub async fn delete_exclusion(&self, id: ExclusionId, audit: &AuditEntry) -> Result<()> {
        self.delete_by_id("exclusions", "exclusion", id.value(), audit).await
    }

    /// Every blackout, by range.
    pub async fn blackouts(&self) -> Result<Vec<Blackout>> {
        let sql =
            "SELECT id, ip_first, ip_last, time_window, reason, created_at FROM blackouts ORDER BY ip_first, ip_last, created_at";
        let from = |row: &QueryResult| -> Result<Blackout> {
            Ok(Blackout {
                id: get(row, "id")?,
                range: range_from(row)?,
                window: get_json(row, "time_window")?,
                reason: get(row, "reason")?,
                created_at: get(row, "created_at")?,
            })
        };
        all(self.read(), sql, vec![]).await?.iter().map(from).collect()
    }

    /// Adds one.
    pub async fn insert_blackout(&self, blackout: &Blackout, audit: &AuditEntry) -> Result<()> {
        let b = blackout;
        let row = vec![
            b.id.value(),
            b.range.first().value(),
            b.range.last().value(),
            json(&b.window),
            text(&b.reason),
            b.created_at.value(),
        ];
        let tx = self.begin().await?;
        insert(&tx, "INSERT INTO blackouts (id, ip_first, ip_last, time_window, reason, created_at)", vec![row], "").await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Removes it.
    pub async fn delete_blackout(&self, id: BlackoutId, audit: &AuditEntry) -> Result<()> {
        self.delete_by_id("blackouts", "blackout", id.value(), audit).await
    }

    /// Removes the row with the id, or says that there is none.
    pub(crate) async fn delete_by_id(&self, table: &str, what: &str, id: Value, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        if run(&tx, &format!("DELETE FROM {table} WHERE id = $1"), vec![id]).await? == 0 {
            return Err(StoreError::NotFound(format!("the {what}")));
        }
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }
}
