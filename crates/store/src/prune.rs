//! Retention: what is removed after a while. Exposures, endpoints, hosts, events, alerts and the audit trail are kept.
//!
//! How long is the operator's to say (`model::settings::Retention`); when to look is `server`'s.

use crate::sql::*;
use crate::{Result, Store};
use model::address::{merge, subtract};
use model::settings::Retention;
use model::{IpRange, JobId, Ports, Ts, Vantage};
use sea_orm::QueryResult;

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Jobs.
    pub jobs: u64,
    /// Runs.
    pub runs: u64,
    /// Coverage records.
    pub coverage: u64,
}

/// Old coverage records judged in one call; the rest has to wait for the next.
const OLD: u64 = 500;

struct Ground {
    job: JobId,
    fencing: i64,
    vantage: Vantage,
    targets: Vec<IpRange>,
    ports: Ports,
    started_at: Ts,
}

impl Store {
    /// Removes ended jobs and runs, and coverage that later coverage has replaced, once they are old enough. The last run of
    /// a task stays, however old.
    pub async fn prune(&self, now: Ts, retention: &Retention) -> Result<Pruned> {
        let before = vec![now.minus(retention.jobs).value()];
        let tx = self.begin().await?;
        let ended = "run IN (SELECT r.id FROM runs r WHERE r.state <> 'running' AND r.finished_at < $1 \
                     AND NOT EXISTS(SELECT 1 FROM tasks t WHERE t.last_run = r.id))";
        let follow_ups = "run IS NULL AND state IN ('done', 'failed', 'cancelled') AND finished_at < $1";
        let mut pruned = Pruned::default();
        pruned.jobs += run(&tx, &format!("DELETE FROM jobs WHERE {ended}"), before.clone()).await?;
        pruned.jobs += run(&tx, &format!("DELETE FROM jobs WHERE {follow_ups}"), before.clone()).await?;
        let sql = "DELETE FROM runs WHERE state <> 'running' AND finished_at < $1 AND NOT EXISTS(SELECT 1 FROM tasks t WHERE t.last_run = runs.id)";
        pruned.runs = run(&tx, sql, before).await?;
        tx.commit().await?;
        // Importing the same file again would find everything in it older than what is known by then.
        let sql = "DELETE FROM imports WHERE recorded_at < $1";
        run(self.write().await?, sql, vec![now.minus(retention.jobs).value()]).await?;

        let old = now.minus(retention.coverage);
        pruned.coverage = run(
            self.write().await?,
            "DELETE FROM coverage WHERE replaced_at IS NOT NULL AND finished_at < $1",
            vec![old.value()],
        )
        .await?;
        for job in self.overtaken(old).await? {
            let sql = "DELETE FROM coverage WHERE job = $1 AND fencing = $2";
            pruned.coverage += run(self.write().await?, sql, vec![job.0.value(), job.1.value()]).await?;
        }
        Ok(pruned)
    }

    /// Old coverage whose every address and port later coverage holds too, if in other pieces.
    async fn overtaken(&self, old: Ts) -> Result<Vec<(JobId, i64)>> {
        let columns = "job, fencing, vantage, targets, ports, started_at";
        let sql =
            format!("SELECT {columns}, ip_first, ip_last FROM coverage WHERE finished_at < $1 ORDER BY finished_at LIMIT $2");
        let mut overtaken = Vec::new();
        for row in all(self.read(), &sql, vec![old.value(), OLD.value()]).await? {
            let ground = ground_from(&row)?;
            let later = format!(
                "SELECT {columns} FROM coverage WHERE replaced_at IS NULL AND vantage = $1 AND started_at > $2 AND ip_first <= $3 AND ip_last >= $4"
            );
            let last: std::net::IpAddr = get(&row, "ip_last")?;
            let first: std::net::IpAddr = get(&row, "ip_first")?;
            let values = vec![ground.vantage.value(), ground.started_at.value(), last.value(), first.value()];
            let mut rest = merge(&ground.targets);
            for row in all(self.read(), &later, values).await? {
                let later = ground_from(&row)?;
                if later.ports.union(&ground.ports).len() == later.ports.len() {
                    rest = subtract(&rest, &later.targets);
                }
                if rest.is_empty() {
                    overtaken.push((ground.job, ground.fencing));
                    break;
                }
            }
        }
        Ok(overtaken)
    }
}

fn ground_from(row: &QueryResult) -> Result<Ground> {
    let ports: String = get(row, "ports")?;
    Ok(Ground {
        job: get(row, "job")?,
        fencing: get(row, "fencing")?,
        vantage: get(row, "vantage")?,
        targets: get_json(row, "targets")?,
        ports: if ports.is_empty() { Ports::default() } else { ports.parse().map_err(|e: String| bad("ports", &e))? },
        started_at: get(row, "started_at")?,
    })
}
