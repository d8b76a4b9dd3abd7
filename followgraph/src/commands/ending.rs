//! The end of a list: whether there is more, how to go on, and how its pages came about.
//!
//! Programs find all of it in one last object, which a list that is complete and was not explained does not have.

use proto::query::v1::Explanation;
use serde::Serialize;

use super::explanation::{self, Body};
use crate::args::Format;
use crate::output::{self, Origin};

/// What is left to say after the rows.
#[derive(Debug, Default)]
pub struct Ending {
    /// Rows that were printed.
    pub printed: u64,
    /// How many there are in all, where that is told.
    pub total: Option<u64>,
    /// Where to go on; empty if there are no more.
    pub next_page_token: String,
    /// Where the pages came from.
    pub origin: Origin,
    /// How they came about, if that was asked for.
    pub explanations: Vec<Explanation>,
}

/// The last object of a list, for programs.
#[derive(Debug, Serialize)]
struct Last<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explanations: Vec<Body<'a>>,
}

impl Ending {
    /// Prints it.
    pub fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Json => {
                if let Some(last) = self.last() {
                    output::json(&last)?;
                }
                if self.is_cut_off() && output::is_open() {
                    output::note(self.rows());
                }
                Ok(())
            }
            Format::Text => {
                output::line(format!("{}\n{}", self.rows(), self.origin.text()));
                explanation::print(&self.explanations);
                Ok(())
            }
        }
    }

    fn is_cut_off(&self) -> bool {
        !self.next_page_token.is_empty()
    }

    fn last(&self) -> Option<Last<'_>> {
        let last = Last {
            next_page_token: self.is_cut_off().then_some(self.next_page_token.as_str()),
            explanations: self.explanations.iter().map(Body::from).collect(),
        };
        (self.is_cut_off() || !last.explanations.is_empty()).then_some(last)
    }

    /// How many rows there were, and how to get the others.
    fn rows(&self) -> String {
        let rows = if self.printed == 1 { "row" } else { "rows" };
        let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        let more = if self.is_cut_off() {
            format!(", and there are more (--all, --limit, or --page-token {})", self.next_page_token)
        } else {
            String::new()
        };
        format!("{} {rows}{of}{more}", self.printed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_list_has_no_last_object() {
        let ending = Ending { printed: 1, ..Ending::default() };
        assert!(ending.last().is_none());
        assert_eq!(ending.rows(), "1 row");
    }

    #[test]
    fn a_list_that_is_cut_off_says_how_to_go_on() {
        let ending =
            Ending { printed: 50, total: Some(70), next_page_token: "p.1".to_owned(), ..Ending::default() };
        let last = serde_json::to_value(ending.last()).unwrap();
        assert_eq!(last, serde_json::json!({ "next_page_token": "p.1" }));
        assert_eq!(ending.rows(), "50 rows of 70, and there are more (--all, --limit, or --page-token p.1)");
    }

    #[test]
    fn explanations_are_in_the_last_object() {
        let ending = Ending { explanations: vec![Explanation::default()], ..Ending::default() };
        let last = serde_json::to_value(ending.last()).unwrap();
        assert_eq!(last, serde_json::json!({ "explanations": [{ "steps": [], "fallback_reason": "" }] }));
    }
}
