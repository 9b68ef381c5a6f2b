//! What can go wrong in dumps and no kernel does on demand. In every case the counters add up, each
//! socket is one row, and nothing that was read is thrown away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod world;

use libc::{EACCES, EAGAIN, EINTR, EINVAL, ENOBUFS, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP};
use world::{
    Meets, Meets::Datagram, Message, Namespace, Outcome, Place, TIMEOUT, done, poll, refused, socket,
};
use xtcp2::{
    netlink::{
        inet_diag::{AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY, States, TCPDIAG_GETSOCK},
        message::{NLM_F_DUMP_INTR, NLMSG_NOOP, NLMSG_OVERRUN},
    },
    poll::{RECEIVE_BYTES, ReadCounters},
};

/// The sockets with these cookies, and the end of the dump.
fn all(cookies: impl IntoIterator<Item = u64>) -> Meets {
    Datagram(cookies.into_iter().map(socket).chain([done(0)]).collect())
}

fn interrupted(mut message: Message) -> Message {
    message.flags |= NLM_F_DUMP_INTR;
    message
}

/// A poll of one namespace that answers its requests like that.
fn one(answers: impl IntoIterator<Item = Vec<Meets>>) -> Outcome {
    poll(vec![Namespace::answers(answers)], States::ALL)
}

/// What a namespace was asked for: the type and family of each request.
fn requests(outcome: &Outcome, place: usize) -> Vec<(u16, u8)> {
    match &outcome.world.places[place] {
        Place::Namespace(namespace) => namespace.requests.clone(),
        Place::Skipped => Vec::new(),
    }
}

/// Asserts which events were counted; all others were not.
#[track_caller]
fn assert_counted(outcome: &Outcome, dumps: u64, expected: ReadCounters) {
    let expected = ReadCounters {
        dumps,
        sockets: outcome.counters.sockets,
        received_bytes: outcome.counters.received_bytes,
        // Without counts every namespace is walked.
        walks: outcome.report.namespaces,
        ..expected
    };
    assert_eq!(outcome.counters, expected);
}

const NONE: ReadCounters = ReadCounters {
    dumps: 0,
    repeated: 0,
    interrupted: 0,
    overrun: 0,
    truncated: 0,
    failed: 0,
    timed_out: 0,
    incomplete: 0,
    malformed: 0,
    unexpected: 0,
    duplicates: 0,
    filtered: 0,
    received_bytes: 0,
    sockets: 0,
    look_ups: 0,
    look_ups_gone: 0,
    look_ups_repeated: 0,
    skips: 0,
    look_ups_sufficed: 0,
    walks_after_look_ups: 0,
    walks: 0,
};

#[test]
fn a_dump_without_faults_counts_none() {
    let outcome = one([vec![Datagram(vec![socket(1), socket(2)]), all([3]), all([99])]]);
    assert_eq!(outcome.cookies(0), [1, 2, 3]);
    assert_counted(&outcome, 1, NONE);
    assert_eq!((outcome.report.namespaces, outcome.waits), (1, 0));
}

#[test]
fn an_error_inside_done_that_may_pass_repeats_the_dump() {
    for errno in [EINTR, EAGAIN, ENOBUFS, ENOMEM] {
        let outcome = one([
            vec![Datagram(vec![socket(1), socket(2), done(errno)])],
            vec![all([1, 2, 3])],
        ]);
        assert_eq!(outcome.cookies(0), [1, 2, 3]);
        let (failed, repeated, duplicates) = (1, 1, 2);
        assert_counted(
            &outcome,
            2,
            ReadCounters {
                failed,
                repeated,
                duplicates,
                ..NONE
            },
        );
    }
}

#[test]
fn an_error_inside_done_that_stays_keeps_what_was_read() {
    let outcome = one([vec![Datagram(vec![socket(1), socket(2), done(EACCES)])]]);
    assert_eq!(outcome.cookies(0), [1, 2]);
    assert_counted(
        &outcome,
        1,
        ReadCounters {
            failed: 1,
            incomplete: 1,
            ..NONE
        },
    );
}

#[test]
fn an_interrupted_dump_is_repeated_and_makes_no_row_twice() {
    let outcome = one([
        vec![
            Datagram(vec![socket(1), interrupted(socket(2))]),
            Datagram(vec![interrupted(socket(3)), interrupted(done(0))]),
        ],
        // 1 has gone meanwhile, 4 was missed.
        vec![all([2, 3, 4])],
    ]);
    assert_eq!(outcome.cookies(0), [1, 2, 3, 4]);
    let (interrupted, repeated, duplicates) = (1, 1, 2);
    assert_counted(
        &outcome,
        2,
        ReadCounters {
            interrupted,
            repeated,
            duplicates,
            ..NONE
        },
    );
}

#[test]
fn a_namespace_that_changes_all_the_time_is_left_incomplete() {
    let round = |cookie| vec![Datagram(vec![interrupted(socket(cookie)), interrupted(done(0))])];
    let outcome = one([round(1), round(2), round(3), round(4)]);
    assert_eq!(outcome.cookies(0), [1, 2, 3]);
    let (interrupted, repeated, incomplete) = (3, 2, 1);
    assert_counted(
        &outcome,
        3,
        ReadCounters {
            interrupted,
            repeated,
            incomplete,
            ..NONE
        },
    );
}

#[test]
fn datagrams_that_the_kernel_dropped_are_read_again() {
    let overrun = Message {
        message_type: NLMSG_OVERRUN,
        ..done(0)
    };
    for lost in [Meets::Error(ENOBUFS), Datagram(vec![overrun])] {
        let outcome = one([
            vec![Datagram(vec![socket(1)]), lost, all([3])],
            vec![all([1, 2, 3])],
        ]);
        assert_eq!(outcome.cookies(0), [1, 3, 2]);
        let (overrun, repeated, duplicates) = (1, 1, 2);
        assert_counted(
            &outcome,
            2,
            ReadCounters {
                overrun,
                repeated,
                duplicates,
                ..NONE
            },
        );
    }
}

#[test]
fn a_truncated_datagram_is_read_again() {
    // Messages of 88 bytes: the buffer ends in the middle of one.
    let too_many = || (1..=400).map(socket);
    let fit = u64::try_from(RECEIVE_BYTES / 88).unwrap();
    let outcome = one([
        vec![Datagram(too_many().collect()), all([401])],
        vec![Datagram((1..=200).map(socket).collect()), all(201..=401)],
    ]);
    assert_eq!((outcome.cookies(0).len(), outcome.counters.truncated), (401, 1));
    assert_eq!(outcome.counters.duplicates, fit + 1);
    assert_eq!((outcome.counters.repeated, outcome.counters.incomplete), (1, 0));
}

#[test]
fn interruptions_by_signals_and_waits_cost_nothing() {
    let outcome = one([vec![
        Meets::SendError(EINTR),
        Meets::Error(EINTR),
        Meets::Later,
        Datagram(vec![socket(1)]),
        Meets::Error(EINTR),
        Meets::Later,
        all([2]),
    ]]);
    assert_eq!(outcome.cookies(0), [1, 2]);
    assert_counted(&outcome, 1, NONE);
    assert_eq!(outcome.waits, 2);
    assert_eq!(outcome.report.duration.as_secs(), 0);
}

#[test]
fn replies_to_another_request_are_passed_over() {
    let late = |message| Message {
        requests_ago: 1,
        ..message
    };
    let noop = Message {
        message_type: NLMSG_NOOP,
        ..done(0)
    };
    let unknown = Message {
        message_type: 77,
        ..socket(0)
    };
    let outcome = one([vec![
        Datagram(vec![late(socket(8)), late(done(0)), socket(1), noop, unknown]),
        Datagram(vec![late(refused(EINVAL)), interrupted(late(socket(9)))]),
        all([2]),
    ]]);
    assert_eq!(outcome.cookies(0), [1, 2]);
    assert_counted(
        &outcome,
        1,
        ReadCounters {
            unexpected: 5,
            ..NONE
        },
    );
}

#[test]
fn where_both_families_are_refused_two_dumps_are_made_from_then_on() {
    for errno in [EINVAL, ENOENT, EOPNOTSUPP] {
        let first = [
            vec![Datagram(vec![refused(errno)])],
            vec![all([1, 2])],
            vec![all([3])],
        ];
        let second = [vec![all([1])], vec![all([2])]];
        let outcome = poll(
            vec![Namespace::answers(first), Namespace::answers(second)],
            States::ALL,
        );
        assert_eq!(
            (outcome.cookies(0), outcome.cookies(1)),
            (vec![1, 2, 3], vec![1, 2])
        );
        assert_counted(&outcome, 5, NONE);
        let families = [(SOCK_DIAG_BY_FAMILY, AF_INET), (SOCK_DIAG_BY_FAMILY, AF_INET6)];
        assert_eq!(
            requests(&outcome, 0),
            [&[(TCPDIAG_GETSOCK, AF_INET)], &families[..]].concat()
        );
        assert_eq!(requests(&outcome, 1), families);
    }
}

/// tcp_diag is a module, and not loaded until the first of all dumps asks for it.
#[test]
fn where_one_family_is_refused_too_both_are_asked_for_again() {
    let outcome = poll(
        vec![
            Namespace::answers([
                vec![Datagram(vec![refused(ENOENT)])],
                vec![Datagram(vec![refused(ENOENT)])],
            ]),
            Namespace::answers([vec![all([1, 2])]]),
        ],
        States::ALL,
    );
    assert_eq!((outcome.cookies(0), outcome.cookies(1)), (vec![], vec![1, 2]));
    assert_eq!(requests(&outcome, 1), [(TCPDIAG_GETSOCK, AF_INET)]);
    assert_counted(
        &outcome,
        3,
        ReadCounters {
            failed: 1,
            incomplete: 1,
            ..NONE
        },
    );
}

#[test]
fn one_of_two_dumps_that_stays_incomplete_does_not_keep_the_other_away() {
    let round = |cookie| vec![Datagram(vec![interrupted(socket(cookie)), interrupted(done(0))])];
    let outcome = one([
        vec![Datagram(vec![refused(EINVAL)])],
        round(1),
        round(2),
        round(3),
        vec![all([4, 5])],
    ]);
    assert_eq!(outcome.cookies(0), [1, 2, 3, 4, 5]);
    let (interrupted, repeated, incomplete) = (3, 2, 1);
    assert_counted(
        &outcome,
        5,
        ReadCounters {
            interrupted,
            repeated,
            incomplete,
            ..NONE
        },
    );
}

#[test]
fn a_refusal_in_the_middle_is_no_sign_of_an_old_kernel() {
    let outcome = one([vec![Datagram(vec![socket(1), done(EINVAL)])]]);
    assert_eq!(outcome.cookies(0), [1]);
    assert_counted(
        &outcome,
        1,
        ReadCounters {
            failed: 1,
            incomplete: 1,
            ..NONE
        },
    );
}

#[test]
fn each_of_two_dumps_has_its_own_tries() {
    let outcome = one([
        vec![Datagram(vec![refused(EINVAL)])],
        vec![Datagram(vec![socket(1), done(ENOMEM)])],
        vec![all([1, 2])],
        vec![Datagram(vec![socket(3), done(ENOMEM)])],
        vec![Datagram(vec![socket(4), done(ENOMEM)])],
        vec![all([3, 4, 5])],
    ]);
    assert_eq!(outcome.cookies(0), [1, 2, 3, 4, 5]);
    let (failed, repeated, duplicates) = (3, 3, 3);
    assert_counted(
        &outcome,
        6,
        ReadCounters {
            failed,
            repeated,
            duplicates,
            ..NONE
        },
    );
}

#[test]
fn a_namespace_that_does_not_answer_costs_its_timeout_and_no_other_namespace() {
    let mute = || Namespace::answers([vec![Datagram(vec![socket(1)])]]);
    let places = vec![
        Namespace::answers([vec![all([1])]]),
        mute(),
        Namespace::answers([vec![all([2])]]),
        mute(),
    ];
    let outcome = poll(places, States::ALL);
    assert_eq!(
        outcome.rows,
        [(1, 1), (2, 1), (3, 2), (4, 1)],
        "what was read is kept"
    );
    assert_counted(&outcome, 4, ReadCounters { timed_out: 2, ..NONE });
    assert_eq!(outcome.report.duration, 2 * TIMEOUT);
    assert_eq!((outcome.report.namespaces, outcome.waits), (4, 2));
}

#[test]
fn the_end_of_a_datagram_that_comes_again_is_no_second_row() {
    let outcome = one([vec![
        Datagram((1..=100).map(socket).collect()),
        all([99, 100, 101]),
    ]]);
    assert_eq!(outcome.cookies(0), (1..=101).collect::<Vec<u64>>());
    assert_counted(
        &outcome,
        1,
        ReadCounters {
            duplicates: 2,
            ..NONE
        },
    );
}

/// Two sockets in front of a chain of which one was read: the reader goes on with one that is new, and only
/// then meets the one that it had. Found by the simulation: it stopped looking at the first new one.
#[test]
fn the_end_of_a_datagram_that_comes_again_behind_new_sockets_is_no_second_row() {
    let outcome = one([vec![
        Datagram((1..=100).map(socket).collect()),
        all([200, 201, 99, 100, 101]),
    ]]);
    let expected: Vec<u64> = (1..=101).chain([200, 201]).collect();
    let mut cookies = outcome.cookies(0);
    cookies.sort_unstable();
    assert_eq!(cookies, expected);
    assert_counted(
        &outcome,
        1,
        ReadCounters {
            duplicates: 2,
            ..NONE
        },
    );
}

#[test]
fn names_that_lead_nowhere_are_passed_over() {
    let places = vec![
        Place::Skipped,
        Namespace::answers([vec![all([1])]]),
        Place::Skipped,
    ];
    let outcome = poll(places, States::ALL);
    assert_eq!(
        (outcome.rows.as_slice(), outcome.report.namespaces),
        (&[(2, 1)][..], 1)
    );
    assert_counted(&outcome, 1, NONE);
}

#[test]
fn a_namespace_that_vanishes_midway_keeps_its_rows_and_stops_nobody() {
    let places = vec![
        Namespace::answers([vec![Datagram(vec![socket(1)]), Meets::Error(ENODEV)]]),
        Namespace::answers([vec![Meets::SendError(ENODEV)]]),
        Namespace::answers([vec![all([3])]]),
    ];
    let outcome = poll(places, States::ALL);
    assert_eq!(outcome.rows, [(1, 1), (3, 3)]);
    assert_counted(
        &outcome,
        2,
        ReadCounters {
            failed: 2,
            incomplete: 2,
            ..NONE
        },
    );
}

#[test]
fn short_replies_and_garbage_are_counted() {
    let mut short = socket(7);
    short.payload.truncate(71);
    let outcome = one([vec![Datagram(vec![socket(1), short, socket(2)]), all([3])]]);
    assert_eq!(outcome.cookies(0), [1, 2, 3]);
    assert_counted(&outcome, 1, ReadCounters { malformed: 1, ..NONE });

    // Lengths: less than a header, and more than there is.
    for length in [3_u32, 1000] {
        let garbage = [length.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
        let outcome = one([
            vec![Meets::Garbage(vec![socket(1)], garbage), all([2])],
            vec![all([1, 2, 3])],
        ]);
        assert_eq!(outcome.cookies(0), [1, 2, 3]);
        let (malformed, repeated, duplicates) = (1, 1, 2);
        assert_counted(
            &outcome,
            2,
            ReadCounters {
                malformed,
                repeated,
                duplicates,
                ..NONE
            },
        );
    }
}

#[test]
fn states_are_filtered_after_reading() {
    let states = States::LISTEN;
    let messages = vec![socket(1), world::socket_in_state(2, 1), socket(3), done(0)];
    let outcome = poll(vec![Namespace::answers([vec![Datagram(messages)]])], states);
    assert_eq!((outcome.cookies(0), outcome.report.sockets), (vec![1, 3], 3));
    assert_counted(&outcome, 1, ReadCounters { filtered: 1, ..NONE });
}

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// The answer to one request. A dump shows its sockets in an order; only where a datagram begins
    /// some may come again.
    fn answer(&mut self) -> Vec<Meets> {
        let mut next = 1;
        let events = 0..self.below(8);
        events
            .map(|_| match self.below(12) {
                0 => Meets::Error(EINTR),
                1 => Meets::Error(ENOBUFS),
                2 => Meets::Later,
                3 => Datagram(vec![done(ENOMEM)]),
                4 => Datagram(vec![interrupted(done(0))]),
                5 => Datagram(vec![done(0)]),
                6 => Meets::Garbage(Vec::new(), vec![1, 2, 3]),
                7 => Datagram(vec![Message {
                    requests_ago: 1,
                    ..socket(9000)
                }]),
                8 => Datagram(vec![refused(EINVAL)]),
                _ => {
                    let first = next - self.below(3).min(next - 1);
                    next += self.below(5);
                    Datagram((first..next).map(socket).collect())
                }
            })
            .collect()
    }
}

/// Faults in any order: [`poll`] asserts what must hold always.
#[test]
fn whatever_happens_every_namespace_is_visited_and_no_socket_is_two_rows() {
    for seed in 1..=2000_u64 {
        let mut random = Random(seed);
        let places: Vec<Place> = (0..1 + random.below(5))
            .map(|_| Namespace::answers((0..6).map(|_| random.answer())))
            .collect();
        let count = places.len() as u64;
        let outcome = poll(places, States::ALL);
        assert_eq!(outcome.report.namespaces, count, "seed {seed}");
        assert!(
            outcome.rows.iter().all(|(_, cookie)| *cookie != 9000),
            "seed {seed}"
        );
        assert!(
            outcome.report.duration <= TIMEOUT * u32::try_from(count).unwrap(),
            "seed {seed}"
        );
    }
}
