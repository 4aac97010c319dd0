//! A few threads that stay, and lists of tasks that they share.
//!
//! burn's own threads are switched off in this workspace: a tensor operation runs on the thread that asks for it. Work
//! is spread by cutting it into pieces whose number does not depend on the machine, so that the crew's size decides when a
//! result is ready but never what it is: results come back in the order of the tasks.

use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

type Task = Box<dyn FnOnce() + Send>;

/// Threads that take tasks from one queue. They end when the crew is dropped.
pub(crate) struct Crew {
    queue: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// As many threads as there are cores, but no more than `most` and at least one.
    pub(crate) fn for_this_machine(most: usize) -> Crew {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Crew::new(cores.min(most))
    }

    /// `count` threads, at least one.
    pub(crate) fn new(count: usize) -> Crew {
        let (sender, receiver) = channel::<Task>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..count.max(1)).map(|_| {
            let receiver = Arc::clone(&receiver);
            thread::spawn(move || work(&receiver))
        });
        Crew { queue: Some(sender), threads: threads.collect() }
    }

    /// Runs the tasks, any number at a time, and returns their results in the order of the tasks.
    ///
    /// # Panics
    /// When a task panics, with its message.
    pub(crate) fn map<T: Send + 'static>(
        &self,
        tasks: impl IntoIterator<Item = impl FnOnce() -> T + Send + 'static>,
    ) -> Vec<T> {
        let (sender, results) = channel::<(usize, Result<T, Box<dyn Any + Send>>)>();
        let mut slots: Vec<Option<T>> = Vec::new();
        for (index, task) in tasks.into_iter().enumerate() {
            let sender = sender.clone();
            let task: Task = Box::new(move || {
                let result = catch_unwind(AssertUnwindSafe(task));
                // Nobody listens any more when another task of the list has panicked.
                sender.send((index, result)).ok();
            });
            let queue = self.queue.as_ref().expect("a crew has its queue until it is dropped");
            queue.send(task).expect("a crew's threads live as long as its queue");
            slots.push(None);
        }
        drop(sender);
        for (index, result) in results {
            match result {
                Ok(value) => slots[index] = Some(value),
                Err(panic) => resume_unwind(panic),
            }
        }
        slots.into_iter().map(|slot| slot.expect("every task sends its result")).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // Panics of tasks were caught and told to whoever waited for them.
            thread.join().ok();
        }
    }
}

fn work(queue: &Mutex<Receiver<Task>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(task) => task(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks_whatever_the_number_of_threads() {
        for count in [0, 1, 2, 5] {
            let crew = Crew::new(count);
            let tasks = (0..50u64).map(|number| move || number * number);
            assert_eq!(crew.map(tasks), (0..50).map(|number| number * number).collect::<Vec<u64>>());
            assert_eq!(crew.map(Vec::<fn() -> u8>::new()), Vec::<u8>::new());
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_crew_works_on() {
        let crew = Crew::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            crew.map((0..4).map(|number| move || assert!(number != 2, "task {number} fell over")));
        }));
        let message = *caught.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(message, "task 2 fell over");
        assert_eq!(crew.map([|| 7]), [7]);
    }
}
