//! The tables of what a suite asks beside: profiles, analogies, disentanglement, the tangent kernel.

use super::{Cell, Table, TableLine, Unit, numbers, seeds_note, unit};
use crate::evaluate::analogy::{Analogy, AnalogyLine};
use crate::evaluate::disentanglement::ErrorMap;
use crate::evaluate::judge::Outcome;
use crate::evaluate::kernel::Localization;
use crate::evaluate::suite::{AnalogySettings, Profile, Suite};

/// One table for each profile: its lines are rows, its points columns.
pub(super) fn profiles(suite: &Suite, outcomes: &[Outcome]) -> Vec<Table> {
    let profile = |(name, profile): (&str, &Profile)| {
        let cell =
            |method: &str| Cell::of_seeds(&numbers(profile.column, method, None, outcomes), unit(profile.column));
        let lines = profile
            .lines
            .iter()
            .map(|(line, methods)| (line.to_owned(), methods.iter().map(|method| cell(method)).collect()));
        // What they are held against is the same at every point.
        let beside = profile.beside.iter().map(|method| (method.clone(), vec![cell(method); profile.points.len()]));
        Table {
            id: format!("profile-{name}"),
            title: profile.title.clone(),
            note: format!("{} Column `{}` of the first table.", seeds_note(suite), profile.column.title()),
            columns: profile.points.clone(),
            rows: lines.chain(beside).map(|(name, cells)| TableLine { name, cells }).collect(),
        }
    };
    suite.profiles.iter().map(profile).collect()
}

/// One table for each analogy: what was tried are rows, the methods columns.
pub(super) fn analogies(suite: &Suite, analogies: &[Analogy]) -> Vec<Table> {
    let table = |(name, settings): (&str, &AnalogySettings)| {
        let of =
            |method: &str| analogies.iter().filter(|one| one.name == name && one.row == method).collect::<Vec<_>>();
        let first = settings.methods.first().map(|method| of(method)).unwrap_or_default();
        let whats: Vec<String> =
            first.first().map(|one| one.lines.iter().map(|line| line.what.clone()).collect()).unwrap_or_default();
        let row = |(at, what): (usize, &String)| {
            let cells = settings.methods.iter().flat_map(|method| {
                let of_method = of(method);
                let take = |number: fn(&AnalogyLine) -> f64| {
                    Cell::of(&of_method.iter().map(|one| number(&one.lines[at])).collect::<Vec<_>>(), Unit::Share)
                };
                [take(|line| line.accuracy), take(|line| line.at_one)]
            });
            TableLine { name: what.clone(), cells: cells.collect() }
        };
        Table {
            id: format!("analogy-{name}"),
            title: format!("Analogy: {} is to {} as {} is to {}", settings.a, settings.b, settings.c, settings.d),
            note: format!(
                "{} Test accuracy on {}, whose head is made of class means of the base, with the coefficient chosen on its held-out \
                 images, and at coefficient 1. The last row has learned the task itself.",
                seeds_note(suite),
                settings.d
            ),
            columns: settings
                .methods
                .iter()
                .flat_map(|method| [method.clone(), format!("{method}, alpha 1")])
                .collect(),
            rows: whats.iter().enumerate().map(row).collect(),
        }
    };
    suite.analogies.iter().map(table).collect()
}

/// Mean disentanglement errors where coefficients are searched.
pub(super) fn maps(suite: &Suite, maps: &[ErrorMap]) -> Option<Table> {
    let settings = suite.disentanglement.as_ref()?;
    let of = |method: &str, pair: &[String; 2]| {
        let of_both = maps.iter().filter(|map| map.row == method && map.pair == *pair);
        Cell::of(&of_both.filter_map(|map| map.in_box).collect::<Vec<_>>(), Unit::Share)
    };
    let row = |method: &String| TableLine {
        name: method.clone(),
        cells: settings.pairs.iter().map(|pair| of(method, pair)).collect(),
    };
    let images = maps.first().map_or([0, 0], |map| map.images);
    Some(Table {
        id: "disentanglement".to_owned(),
        title: "Disentanglement error".to_owned(),
        note: format!(
            "{} The share of answers on the first task that the second one's vector changes, and the other way round, added up (0 to \
             200 %): mean over the coefficients from 0 to 1 of a grid from {} to {} with {} points on each side; of at most {} test \
             images each, divided by how many were asked ({} and {} of the first pair). Lower is better.",
            seeds_note(suite),
            settings.from,
            settings.to,
            settings.points,
            settings.images,
            images[0],
            images[1]
        ),
        columns: settings.pairs.iter().map(|pair| pair.join(" and ")).collect(),
        rows: settings.methods.iter().map(row).collect(),
    })
}

/// Localization of the base and of networks that were drawn.
pub(super) fn localizations(suite: &Suite, localizations: &[Localization]) -> Option<Table> {
    let settings = suite.kernel.as_ref()?;
    let row = |(name, is_base): (&str, bool)| {
        let of = |task: &String| {
            let of_both = localizations.iter().filter(|one| one.task == *task && one.is_base == is_base);
            Cell::of(&of_both.map(|one| one.localization).collect::<Vec<_>>(), Unit::Share)
        };
        TableLine { name: name.to_owned(), cells: settings.tasks.iter().map(of).collect() }
    };
    let images = localizations.first().map_or(0, |one| one.images[0]);
    Some(Table {
        id: "kernel".to_owned(),
        title: "Localization of the tangent kernel's eigenfunctions".to_owned(),
        note: format!(
            "{} Of the eigenfunctions of the tangent kernel on {images} test images of the task and {images} of the control: the share \
             of their squares that is on the task's images, each weighed by what it carries of the task's labels. 50 % says that they \
             live everywhere, 100 % that they live on the task alone. The kernel is that of the features, by all editable weights, \
             summed over {} draws of random signs.",
            seeds_note(suite),
            settings.draws
        ),
        columns: settings.tasks.clone(),
        rows: [("the base", true), ("a network that was drawn", false)].map(row).into(),
    })
}
