use super::*;

#[tokio::test(start_paused = true)]
async fn the_longest_idle_unauthorized_connection_makes_room() {
    let (connections, caller) = (Connections::new(3), Caller::new("one"));
    let mut admitted = Vec::new();
    for _ in 0..3 {
        admitted.push(connections.admit().expect("room"));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    admitted[0].connection.served(Some(&caller));
    let call = admitted[1].connection.call();
    let fourth = connections.admit().expect("the third makes room: it has no call");
    assert!(admitted[2].connection.make_room.is_cancelled());
    fourth.connection.served(Some(&caller));
    let fifth = connections.admit().expect("the second makes room: its call has no token");
    assert!(admitted[1].connection.make_room.is_cancelled());
    fifth.connection.served(Some(&caller));
    assert!(!admitted[0].connection.make_room.is_cancelled());
    drop((call, admitted));
    assert_eq!(connections.count(), 2);
    assert!(connections.admit().is_some());
}

#[tokio::test(start_paused = true)]
async fn caller_with_most_connections_makes_room_with_an_idle_one() {
    let connections = Connections::new(4);
    let (hog, honest) = (Caller::new("hog"), Caller::new("honest"));
    let mut admitted = Vec::new();
    for caller in [&honest, &hog, &hog, &hog] {
        let one = connections.admit().expect("room");
        one.connection.served(Some(caller));
        admitted.push(one);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let mut calls = vec![admitted[1].connection.call()];
    let fifth = connections.admit().expect("the third makes room: the second has a call");
    assert!(admitted[2].connection.make_room.is_cancelled());
    assert!(!admitted[0].connection.make_room.is_cancelled(), "its caller has fewer connections");
    fifth.connection.served(Some(&honest));
    calls.push(fifth.connection.call());
    calls.push(admitted[3].connection.call());
    let sixth = connections.admit().expect("the first makes room: the only one without calls");
    assert!(admitted[0].connection.make_room.is_cancelled());
    sixth.connection.served(Some(&hog));
    calls.push(sixth.connection.call());
    assert!(connections.admit().is_none(), "all have calls under way");
    for busy in [&admitted[1], &admitted[3], &fifth, &sixth] {
        assert!(!busy.connection.make_room.is_cancelled());
    }
    drop(calls);
    assert!(connections.admit().is_some());
}

#[tokio::test(start_paused = true)]
async fn idle_strangers_make_room_before_callers_that_need_no_token() {
    let connections = Connections::new(3);
    let admit = || connections.admit().expect("room");
    let honest = admit();
    honest.connection.served(None);
    tokio::time::advance(Duration::from_secs(1)).await;
    let strangers = [admit(), admit()];
    let refused = strangers[1].connection.call();
    let fourth = admit();
    assert!(strangers[0].connection.make_room.is_cancelled());
    fourth.connection.served(None);
    let fifth = admit();
    assert!(strangers[1].connection.make_room.is_cancelled(), "its call was not admitted");
    for served in [&honest, &fourth] {
        assert!(!served.connection.make_room.is_cancelled());
    }
    drop((refused, strangers, fifth));
}

#[tokio::test(start_paused = true)]
async fn callers_without_a_token_are_one_and_shut_out_no_other() {
    let (connections, caller) = (Connections::new(3), Caller::new("one"));
    let mut admitted = Vec::new();
    for caller in [Some(&caller), None, None] {
        let one = connections.admit().expect("room");
        one.connection.served(caller);
        admitted.push(one);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let mut calls = vec![admitted[1].connection.call()];
    let fourth = connections.admit().expect("the third makes room: the second has a call");
    assert!(admitted[2].connection.make_room.is_cancelled());
    assert!(admitted[2].connection.has_grace(), "a call may be on its way");
    fourth.connection.served(None);
    calls.extend([&admitted[0], &fourth].map(|busy| busy.connection.call()));
    let fifth = connections.admit().expect("the second is interrupted: all have calls under way");
    assert!(admitted[1].connection.make_room.is_cancelled() && !admitted[1].connection.has_grace());
    fifth.connection.served(Some(&caller));
    calls.push(fifth.connection.call());
    let sixth = connections.admit().expect("the fourth is interrupted");
    assert!(fourth.connection.make_room.is_cancelled());
    sixth.connection.served(Some(&caller));
    calls.push(sixth.connection.call());
    assert!(connections.admit().is_none(), "all have calls with a token");
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn busy_callers_without_a_token_leave_others_their_idle_connections() {
    let (connections, caller) = (Connections::new(4), Caller::new("one"));
    let admit = |caller: Option<&Caller>| {
        let one = connections.admit().expect("room");
        one.connection.served(caller);
        one
    };
    let mut admitted = [Some(&caller), None, None, None].map(admit).into_iter();
    let idle = admitted.next().expect("the first of four");
    let busy: Vec<_> = admitted.map(|one| (one.connection.call(), one)).collect();
    let interrupted = || busy.iter().filter(|(_, one)| one.connection.make_room.is_cancelled()).count();
    let fifth = admit(Some(&caller));
    assert_eq!((interrupted(), idle.connection.make_room.is_cancelled()), (1, false));
    // With two connections each, an idle one makes room before a call is interrupted.
    tokio::time::advance(Duration::from_secs(1)).await;
    let sixth = admit(Some(&caller));
    assert_eq!((interrupted(), idle.connection.make_room.is_cancelled()), (1, true));
    drop((fifth, sixth));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_bytes_is_not_stalled() {
    let connection = Connection::test(1);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!connection.takes_nothing_for(Duration::from_secs(30)), "nothing waits");
    let _unsent = connection.unsent.add(1);
    connection.progressed();
    assert!(!connection.takes_nothing_for(Duration::from_secs(30)));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(connection.takes_nothing_for(Duration::from_secs(30)));
}
