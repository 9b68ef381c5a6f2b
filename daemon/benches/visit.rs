//! What it costs to enter a namespace, get a socket there and come home: `cargo bench --bench visit`.
//! Needs root.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot start has nothing to say")]

use criterion::{Criterion, criterion_group, criterion_main};
use nix::sched::{CloneFlags, unshare};
use std::{path::PathBuf, sync::mpsc, thread};
use xtcp2::namespaces::Home;

/// Calls `action` with the path of a namespace that a thread holds meanwhile; `None` without the
/// privilege to make one.
fn with_namespace(action: impl FnOnce(Option<PathBuf>)) {
    let (path_sender, path) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET).ok();
            let path =
                made.map(|()| PathBuf::from(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid())));
            path_sender.send(path).unwrap();
            let _ = ended.recv();
        });
        action(path.recv().unwrap());
        drop(end);
    });
}

fn visit(criterion: &mut Criterion) {
    let home = Home::open().unwrap();
    let mut group = criterion.benchmark_group("visit");
    group.bench_function("own namespace", |bencher| {
        bencher.iter(|| home.visit_own().unwrap());
    });
    with_namespace(|path| match path {
        Some(path) => {
            group.bench_function("another namespace", |bencher| {
                bencher.iter(|| home.visit(&path).unwrap());
            });
        }
        None => eprintln!("visit/another namespace: skipped, no privilege to make a namespace"),
    });
}

criterion_group!(benches, visit);
criterion_main!(benches);
