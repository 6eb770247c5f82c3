//! Which threads libtorch shares its work out to.
//!
//! Every thread that calls libtorch gets a team of threads of its own. Those of a team wait for its next piece of work by spinning, which
//! takes no time, but only as long as the process has no more of them than there are processors (libgomp, `GOMP_SPINCOUNT`): a
//! second team makes the steps of a training wait for threads that have to be woken, thousands of times in each.

use std::sync::mpsc::sync_channel;
use std::thread::Scope;

/// Runs `work` on a thread of `scope` on which libtorch shares nothing out. Other threads, also those to come, keep the caller's number.
pub(crate) fn spawn_alone<'s>(scope: &'s Scope<'s, '_>, work: impl FnOnce() + Send + 's) {
    // a thread takes the number that was set last, by whomever, when it first asks for it
    let usual = tch::get_num_threads();
    let (tell, told) = sync_channel(1);
    scope.spawn(move || {
        tch::get_num_threads();
        tch::set_num_threads(1);
        let _ = tell.send(());
        work();
    });
    // not to be set back before it was set; where that thread is gone already, so is its number
    let _ = told.recv();
    tch::set_num_threads(usual);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread uses when asked now.
    fn number() -> i32 {
        tch::get_num_threads()
    }

    #[test]
    fn one_thread_for_the_work_and_the_usual_number_for_all_others() {
        let usual = number();
        std::thread::scope(|scope| {
            let (tell, told) = sync_channel(2);
            let (go, wait) = sync_channel::<()>(1);
            spawn_alone(scope, move || {
                tell.send(number()).unwrap();
                wait.recv().unwrap();
                tell.send(number()).unwrap();
            });
            assert_eq!(number(), usual);
            // other tests change it meanwhile
            let mut to_come = (0..1_000).map(|_| scope.spawn(number).join().unwrap());
            assert!(to_come.any(|to_come| to_come == usual), "threads to come");
            go.send(()).unwrap();
            assert_eq!([told.recv().unwrap(), told.recv().unwrap()], [1, 1]);
        });
    }
}
