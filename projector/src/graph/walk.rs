//! The walk from account to account.
//!
//! Owns: finding edges whose `src` and `dst` do not name their ends, which no index can find, by comparing each
//! account's degrees with what the indexes say of it, both ways. Must not know: what should be there instead.
//! What can go wrong: the search runs beside the writer, so a suspect may be none; it is looked at again before anything
//! is changed. Edges between nodes that are no accounts are found by the accounts that they name.

use neo4rs::{Txn, query};

use super::{AsyncBody, Error, Replica, cypher, one_row};
use crate::edge::Kind;

/// Most misplaced edges repaired at once.
const MISPLACED: i64 = 100;

/// What a stretch of accounts looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// The last account looked at; none at the end of all accounts.
    pub last: Option<String>,
    /// Accounts that need a closer look.
    pub accounts: Vec<(Kind, String)>,
}

/// An edge whose values do not name its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The edge's name within the server.
    pub element_id: String,
    /// The ids of the nodes that it connects; empty where there is none.
    pub ends: (String, String),
    /// The ids that it says; empty where there is none.
    pub named: (String, String),
}

struct Search {
    after: String,
    limit: i64,
}

impl AsyncBody<Walked> for Search {
    async fn run(self, tx: &mut Txn) -> Result<Walked, Error> {
        let mut walked = Walked::default();
        for kind in Kind::ALL {
            let query =
                query(cypher::suspects(kind)).param("after", self.after.as_str()).param("limit", self.limit);
            let Some(row) = one_row(tx, query).await? else { continue };
            let ids: Vec<String> = row.get("ids")?;
            walked.accounts.extend(ids.into_iter().map(|id| (kind, id)));
            let looked: i64 = row.get("looked")?;
            if looked == self.limit {
                // Another kind may have seen an account more or less; the earlier end misses none.
                let last: Option<String> = row.get("last")?;
                walked.last = match walked.last.take() {
                    Some(other) if Some(&other) < last.as_ref() => Some(other),
                    _ => last,
                };
            }
        }
        Ok(walked)
    }
}

struct NextAccount {
    after: String,
}

impl AsyncBody<Option<String>> for NextAccount {
    async fn run(self, tx: &mut Txn) -> Result<Option<String>, Error> {
        let row = one_row(tx, query(cypher::NEXT_ACCOUNT).param("after", self.after)).await?;
        Ok(row.map(|row| row.get("id")).transpose()?)
    }
}

struct Closer {
    kind: Kind,
    account: String,
}

impl AsyncBody<Vec<Misplaced>> for Closer {
    async fn run(self, tx: &mut Txn) -> Result<Vec<Misplaced>, Error> {
        let query = query(cypher::misplaced(self.kind)).param("id", self.account).param("limit", MISPLACED);
        let Some(row) = one_row(tx, query).await? else { return Ok(Vec::new()) };
        let ids: Vec<String> = row.get("ids")?;
        let starts: Vec<String> = row.get("starts")?;
        let ends: Vec<String> = row.get("ends")?;
        let sources: Vec<String> = row.get("sources")?;
        let targets: Vec<String> = row.get("targets")?;
        let ends = starts.into_iter().zip(ends);
        let named = sources.into_iter().zip(targets);
        let edge = |((element_id, ends), named)| Misplaced { element_id, ends, named };
        Ok(ids.into_iter().zip(ends).zip(named).map(edge).collect())
    }
}

impl Replica {
    /// Looks at the next `limit` accounts after `after`. May run beside the writer: what it answers is not exact, and
    /// must be looked at again.
    pub async fn walk(&self, after: &str, limit: u32) -> Result<Walked, Error> {
        let searched = self.transaction(Search { after: after.to_owned(), limit: i64::from(limit) }).await;
        let mut walked = match searched {
            // One account with more edges than can be counted in time: pass it by, or the walk never ends.
            Err(error) if limit == 1 => {
                tracing::warn!(error = %error, "an account is too large for the walk and is left out");
                let last = self.transaction(NextAccount { after: after.to_owned() }).await?;
                return Ok(Walked { last, accounts: Vec::new() });
            }
            searched => searched?,
        };
        // Degrees also differ for a moment while an edge is written; such an account has nothing misplaced.
        let mut accounts = Vec::new();
        for (kind, account) in std::mem::take(&mut walked.accounts) {
            if !self.misplaced(kind, &account).await?.is_empty() {
                accounts.push((kind, account));
            }
        }
        Ok(Walked { accounts, ..walked })
    }

    /// The misplaced edges around an account, not all of them if there are many.
    pub async fn misplaced(&self, kind: Kind, account: &str) -> Result<Vec<Misplaced>, Error> {
        self.transaction(Closer { kind, account: account.to_owned() }).await
    }
}
