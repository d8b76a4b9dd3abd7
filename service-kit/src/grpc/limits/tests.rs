use super::*;

fn limits() -> Arc<Limits> {
    Limits::new(&Sizes { calls: 4, request_bytes: 400_000, unsent: 800_000 })
}

#[test]
fn one_caller_leaves_a_quarter_to_others() {
    let (limits, one, other) = (limits(), Caller::none(), Caller::none());
    let held: Vec<_> = (0..3).map(|_| limits.call(&one).expect("a place")).collect();
    assert!(limits.call(&one).is_none());
    let last = limits.call(&other).expect("the others' place");
    assert!(limits.call(&other).is_none());
    drop((held, last));
    assert!(limits.call(&one).is_some());
}

#[test]
fn streams_without_a_token_have_few_places() {
    let limits = limits();
    let connections: Vec<_> = (0..).map(Connection::test).take(MAX_OPEN_STREAMS).collect();
    let held: Vec<_> =
        connections.iter().map(|connection| limits.open_stream(connection).expect("a place")).collect();
    let other = Connection::test(1_000);
    assert!(limits.open_stream(&other).is_none());
    assert!(limits.call(&Caller::none()).is_some(), "they take none of the calls' places");
    drop(held);
    let own: Vec<_> =
        (0..MAX_OPEN_STREAMS_OF_CONNECTION).map(|_| limits.open_stream(&other).expect("a place")).collect();
    assert!(limits.open_stream(&other).is_none());
    assert!(limits.open_stream(&connections[0]).is_some());
    drop(own);
    assert!(limits.open_stream(&other).is_some());
}

#[test]
fn request_streams_of_one_caller_have_few_places() {
    let limits = Limits::new(&Sizes { calls: 400, request_bytes: 400_000, unsent: 800_000 });
    let (one, other) = (Caller::none(), Caller::none());
    let held: Vec<_> =
        (0..MAX_REQUEST_STREAMS_OF_CALLER).map(|_| limits.request_stream(&one).expect("a place")).collect();
    assert!(limits.request_stream(&one).is_none());
    assert!(limits.call(&one).is_some(), "other calls of it are served");
    assert!(limits.request_stream(&other).is_some());
    drop(held);
    assert!(limits.request_stream(&one).is_some());
    assert_eq!(limits.calls.used.amount(), 0);
}

#[test]
fn exempt_calls_of_one_caller_have_a_limit() {
    let (limits, one, other) = (limits(), Caller::none(), Caller::none());
    let held: Vec<_> = (0..MAX_EXEMPT_OF_CALLER).map(|_| limits.exempt(&one).expect("a place")).collect();
    assert!(limits.exempt(&one).is_none());
    assert!(limits.exempt(&other).is_some());
    drop(held);
    assert!(limits.exempt(&one).is_some());
}

#[test]
fn first_probe_of_a_connection_always_has_a_place() {
    let limits = Limits::new(&Sizes { calls: 80, request_bytes: 400_000, unsent: 800_000 });
    let [hog, second, kubelet] = [1, 2, 3].map(Connection::test);
    let mut held: Vec<_> =
        (0..MAX_PROBES_OF_CONNECTION).map(|_| limits.probe(&hog).expect("a place")).collect();
    assert!(limits.probe(&hog).is_none(), "its connection has enough");
    held.extend((held.len()..limits.max_probes).map(|_| limits.probe(&second).expect("a place")));
    assert!(limits.probe(&second).is_none(), "the process has enough");
    let first = limits.probe(&kubelet).expect("the first of its connection");
    assert!(limits.probe(&kubelet).is_none());
    drop((held, first));
    assert!(limits.probe(&hog).is_some());
    assert_eq!(limits.probes.amount(), 0);
    assert_eq!(hog.probes.amount(), 0);
}

#[test]
fn small_requests_need_no_room_and_large_ones_give_theirs_back() {
    let (limits, caller) = (limits(), Caller::none());
    let large = RequestCharge::new(Arc::clone(&limits), caller.clone(), false);
    assert!(large.begin_message(300_000));
    let second = RequestCharge::new(Arc::clone(&limits), caller.clone(), false);
    assert!(!second.begin_message(100_000));
    assert!(second.begin_message(FREE_REQUEST_BYTES));
    assert!(large.begin_message(200_000));
    assert!(second.begin_message(100_000));
    drop((large, second));
    assert_eq!(limits.request_bytes.used.amount(), 0);
}

#[test]
fn a_stream_is_charged_for_the_messages_that_its_handler_may_hold() {
    let (limits, caller) = (limits(), Caller::none());
    let used = || limits.request_bytes.used.amount();
    let stream = RequestCharge::new(Arc::clone(&limits), caller, true);
    for begun in 1..=MESSAGES_OF_A_STREAM + 2 {
        assert!(stream.begin_message(FREE_REQUEST_BYTES + 1_000));
        assert_eq!(used(), begun.min(MESSAGES_OF_A_STREAM) * 1_000);
    }
    drop(stream);
    assert_eq!(used(), 0);
}

#[test]
fn a_connection_that_takes_nothing_is_refused_before_the_others() {
    let limits = limits();
    let [hog, honest] = [1, 2].map(Connection::test);
    let first = limits.unsent(&hog, 300_000, 10).expect("alone on its connection");
    assert!(limits.unsent(&hog, 1, 10).is_none(), "above a quarter of the limit");
    let mut rest: Vec<_> = (3..6).map(|id| limits.unsent(&Connection::test(id), 190_000, 10)).collect();
    assert!(rest.pop().expect("three").is_none(), "above the limit and its share");
    let full = limits.unsent(&Connection::test(6), 120_000, 10).expect("up to the limit");
    let small = limits.unsent(&honest, FREE_UNSENT_BYTES, 10).expect("always room");
    drop((first, rest, full, small));
    assert_eq!(limits.unsent.amount(), 0);
    assert_eq!(hog.unsent.amount(), 0);
}
