//! Multi-hop reads of accounts of increasing size: checks that the work is bounded as the API specifies.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proto::query::v1::{
    AccountSet, ListFollowersYouKnowRequest, ListMutualsRequest, ListSetOperationRequest, SetKind,
    SetOperation, Source, SuggestAccountsRequest,
};
use tests::clients::Queries;
use tests::{Endpoints, new_user, truth};

use crate::report::Report;
use crate::{load, writes};

const PAGE: i32 = 100;
/// Sizes of sets; a page reads a bounded part of them.
const SETS: [usize; 3] = [1_000, 10_000, 100_000];
/// Follows of a viewer. All of them are candidates for known followers; the last number is the limit.
const VIEWERS: [usize; 3] = [75, 750, 7_500];
/// Follows of an account that gets suggestions from its newest 250 follows.
const CURIOUS: [usize; 3] = [25, 250, 2_500];
/// Follows of each followed account.
const FOLLOWS_OF_EACH: usize = 100;

/// Concurrent follows of other accounts.
const FOLLOWS_PER_SECOND: f64 = 500.0;

#[derive(Clone)]
enum Question {
    Mutuals(ListMutualsRequest),
    Set(ListSetOperationRequest),
    Known(ListFollowersYouKnowRequest),
    Suggest(SuggestAccountsRequest),
}

/// Asks each question about accounts of three sizes, and about the middle one during follows.
pub async fn all(endpoints: &Endpoints, time: Duration, report: &mut Report) -> Result<()> {
    let questions = prepare(endpoints).await;
    truth::wait_caught_up(endpoints).await;
    truth::wait_answering(endpoints).await;
    for (what, sizes) in &questions {
        let name = |size: usize| format!("{what} of {size}");
        for (size, question) in sizes {
            let question = question.clone();
            let ask = move |queries, _| {
                let answer = ask(queries, question.clone());
                async {
                    let source = answer.await?;
                    ensure!(source == Source::Neo4j, "{source:?} answered");
                    Ok(())
                }
            };
            let outcome = load::closed(1, time, |_| endpoints.queries(), ask).await?;
            report.add(&name(*size), 1, &outcome, None);
        }
        let (middle, question) = sizes[1].clone();
        let outcome = beside_follows(endpoints, question, time).await?;
        report.add(&format!("{}, beside follows", name(middle)), 1, &outcome, None);
        let (smallest, _) = sizes[0];
        for (size, _) in &sizes[1..] {
            let ratio = report.compare_medians(&name(*size), &name(smallest), 1).unwrap_or_default();
            eprintln!("{what}: p50 of {size} is {ratio:.2} times that of {smallest}");
        }
    }
    Ok(())
}

/// Asks a question during follows. Either store may answer.
async fn beside_follows(endpoints: &Endpoints, question: Question, time: Duration) -> Result<load::Outcome> {
    let ask = move |queries, _| {
        let answer = ask(queries, question.clone());
        async { answer.await.map(drop) }
    };
    let mut outcome = None;
    let reads = async {
        outcome = Some(load::closed(1, time, |_| endpoints.queries(), ask).await?);
        Ok(())
    };
    let commands = endpoints.commands();
    load::open(FOLLOWS_PER_SECOND, reads, move |round| writes::follow(commands.clone(), round)).await?;
    truth::wait_caught_up(endpoints).await;
    outcome.context("the reads have ended")
}

/// Creates the accounts and the questions.
async fn prepare(endpoints: &Endpoints) -> Vec<(&'static str, Vec<(usize, Question)>)> {
    let mut edges = Vec::new();
    let people: Vec<String> = (0..SETS[2] * 2).map(|_| new_user()).collect();
    let (mut mutuals, mut both, mut either, mut without) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut largest = String::new();
    for size in SETS {
        // Every second follower of the first account also follows the second, and the first follows it back.
        let (first, second) = (new_user(), new_user());
        let shared = people[..size].iter().step_by(2);
        let others = &people[SETS[2]..SETS[2] + size / 2];
        edges.extend(people[..size].iter().map(|fan| (fan.clone(), first.clone())));
        edges.extend(shared.clone().chain(others).map(|fan| (fan.clone(), second.clone())));
        edges.extend(shared.map(|fan| (first.clone(), fan.clone())));
        let followers =
            |user_id: &String| Some(AccountSet { user_id: user_id.clone(), kind: SetKind::Followers.into() });
        let set = |operation: SetOperation| {
            Question::Set(ListSetOperationRequest {
                operation: operation.into(),
                first: followers(&first),
                second: followers(&second),
                page_size: PAGE,
                ..Default::default()
            })
        };
        let request = ListMutualsRequest { user_id: first.clone(), page_size: PAGE, ..Default::default() };
        mutuals.push((size, Question::Mutuals(request)));
        both.push((size, set(SetOperation::Intersection)));
        either.push((size, set(SetOperation::Union)));
        without.push((size, set(SetOperation::Difference)));
        largest.clone_from(&first);
    }
    let mut known = Vec::new();
    for size in VIEWERS {
        let viewer = new_user();
        // Every tenth of them follows the target.
        let others = people[..size / 10].iter().chain(&people[SETS[2]..SETS[2] + size - size / 10]);
        edges.extend(others.map(|other| (viewer.clone(), other.clone())));
        let request = ListFollowersYouKnowRequest {
            viewer_id: viewer,
            target_id: largest.clone(),
            page_size: PAGE,
            ..Default::default()
        };
        known.push((size, Question::Known(request)));
    }
    let mut suggest = Vec::new();
    let between: Vec<String> = (0..CURIOUS[2]).map(|_| new_user()).collect();
    for (place, other) in between.iter().enumerate() {
        // Neighbours have many follows in common.
        let from = place * 10;
        edges.extend(people[from..from + FOLLOWS_OF_EACH].iter().map(|far| (other.clone(), far.clone())));
    }
    for size in CURIOUS {
        let viewer = new_user();
        edges.extend(between[..size].iter().map(|other| (viewer.clone(), other.clone())));
        let request = SuggestAccountsRequest { viewer_id: viewer, ..Default::default() };
        suggest.push((size, Question::Suggest(request)));
    }
    eprintln!("importing {} edges", edges.len());
    writes::prepare(endpoints, &edges).await;
    vec![
        ("ListMutuals, page of 100", mutuals),
        ("ListSetOperation, intersection, page of 100", both),
        ("ListSetOperation, union, page of 100", either),
        ("ListSetOperation, difference, page of 100", without),
        ("ListFollowersYouKnow, page of 100", known),
        ("SuggestAccounts, 20", suggest),
    ]
}

/// Asks a question. Returns the store that answered.
async fn ask(mut queries: Queries, question: Question) -> Result<Source> {
    let (source, found) = match question {
        Question::Mutuals(request) => {
            let answer = queries.list_mutuals(request).await?.into_inner();
            (answer.source(), answer.edges.len())
        }
        Question::Set(request) => {
            let answer = queries.list_set_operation(request).await?.into_inner();
            (answer.source(), answer.user_ids.len())
        }
        Question::Known(request) => {
            let answer = queries.list_followers_you_know(request).await?.into_inner();
            (answer.source(), answer.edges.len())
        }
        Question::Suggest(request) => {
            let answer = queries.suggest_accounts(request).await?.into_inner();
            (answer.source(), answer.suggestions.len())
        }
    };
    ensure!(found > 0, "an empty answer");
    Ok(source)
}
