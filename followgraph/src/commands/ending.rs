//! The end of a list: whether there are more rows, how to get them, and where the pages came from.
//!
//! In JSON all of it is one last object, which a complete list without explanations does not have.

use serde::Serialize;

use super::explanation::Explained;
use super::origin::Origin;
use crate::output::{self, Format};

/// What follows the rows of a list.
#[derive(Debug, Default)]
pub struct Ending {
    pub printed: u64,
    /// Number of rows in the whole list, if the service counts them.
    pub total: Option<u64>,
    /// Token of the next page; empty after the last one.
    pub next_page_token: String,
}

#[derive(Debug, Serialize)]
struct Last<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    explanations: &'a [Explained],
}

impl Ending {
    pub fn print(&self, format: Format, origin: &Origin) -> anyhow::Result<()> {
        match format {
            Format::Json => {
                if let Some(last) = self.last(&origin.explanations) {
                    output::json(&last)?;
                }
                if self.is_cut_off() && output::is_open() {
                    output::note(self.rows());
                }
            }
            Format::Text => output::line(format!("{}\n{}", self.rows(), origin.text())),
        }
        Ok(())
    }

    fn is_cut_off(&self) -> bool {
        !self.next_page_token.is_empty()
    }

    fn last<'a>(&'a self, explanations: &'a [Explained]) -> Option<Last<'a>> {
        let next_page_token = self.is_cut_off().then_some(self.next_page_token.as_str());
        let is_needed = self.is_cut_off() || !explanations.is_empty();
        is_needed.then_some(Last { next_page_token, explanations })
    }

    fn rows(&self) -> String {
        let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        let more = if self.is_cut_off() {
            format!(", and there are more (--all, --limit, or --page-token {})", self.next_page_token)
        } else {
            String::new()
        };
        format!("{}{of}{more}", output::counted(self.printed, "row"))
    }
}

#[cfg(test)]
mod tests {
    use proto::query::v1::Explanation;

    use super::*;

    #[test]
    fn a_complete_list_has_no_last_object() {
        let ending = Ending { printed: 1, ..Ending::default() };
        assert!(ending.last(&[]).is_none());
        assert_eq!(ending.rows(), "1 row");
    }

    #[test]
    fn an_incomplete_list_says_how_to_get_more() {
        let ending = Ending { printed: 50, total: Some(70), next_page_token: "p.1".to_owned() };
        let last = serde_json::to_value(ending.last(&[])).unwrap();
        assert_eq!(last, serde_json::json!({ "next_page_token": "p.1" }));
        assert_eq!(ending.rows(), "50 rows of 70, and there are more (--all, --limit, or --page-token p.1)");
    }

    #[test]
    fn explanations_are_in_the_last_object() {
        let explanations = [Explained::new(&Explanation::default())];
        let ending = Ending::default();
        let last = serde_json::to_value(ending.last(&explanations)).unwrap();
        assert_eq!(last, serde_json::json!({ "explanations": [{ "steps": [], "fallback_reason": "" }] }));
    }
}
