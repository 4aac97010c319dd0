//! From the fragments of a suite to the recipe of one run.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Suite;
use crate::error::{Error, Result};
use crate::recipe::{Recipe, explain_fragment};

/// What the suite says itself.
pub(super) const SAID_BY_THE_SUITE: [&str; 7] = ["name", "seed", "base", "network", "data", "form", "classes"];

/// In `penalty.curvature.data`: the folders of all merged tasks but that of the recipe's own.
const OTHERS: &str = "others";

pub(super) fn recipe(suite: &Suite, method: &str, task: &str, seed: u64, base: &Path) -> Result<Recipe> {
    let unknown = |kind: &str, name: &str| Error::usage(format!("the suite has no {kind} `{name}`"));
    let fragment = suite.methods.get(method).ok_or_else(|| unknown("method", method))?;
    let of_task = suite.tasks.get(task).ok_or_else(|| unknown("task", task))?;
    let mut whole = standard();
    lay_over(&mut whole, &suite.defaults);
    lay_over(&mut whole, fragment);
    if let Some(epochs) = of_task.epochs {
        lay_over(&mut whole, &object(json!({"epochs": epochs})));
    }
    if let Some(steps) = of_task.steps {
        lay_over(&mut whole, &object(json!({"steps": steps})));
    }
    let subject = format!("method `{method}`, task `{task}`");
    let text = |path: &Path| {
        let refused = || Error::unsupported(format!("{subject}: `{}` is not UTF-8", path.display()));
        path.to_str().map(str::to_owned).ok_or_else(refused)
    };
    let data = suite.data_path(&of_task.data);
    if let Some(others) = others(&mut whole) {
        let of_others = suite.merged_tasks().filter(|(_, other)| other.data != of_task.data);
        *others =
            of_others.map(|(_, other)| Ok(Value::from(text(&suite.data_path(&other.data))?))).collect::<Result<_>>()?;
    }
    let own = json!({
        "name": format!("{method}-{task}"), "seed": seed, "base": text(base)?, "data": text(&data)?, "classes": of_task.classes, "form": of_task.form,
    });
    lay_over(&mut whole, &object(own));
    // JSON is YAML, and so a recipe's own reader answers for what is wrong with it.
    let mut recipe: Recipe = serde_saphyr::from_str(&Value::Object(whole).to_string())
        .map_err(|error| explain_fragment(&error, &suite.text, &subject))?;
    recipe.fill_in();
    recipe.check().map_err(|error| error.within(subject))?;
    Ok(recipe)
}

/// Where a recipe names the folders of other tasks, if the word `others` stands there.
fn others(whole: &mut Map<String, Value>) -> Option<&mut Value> {
    let data = whole.get_mut("penalty")?.get_mut("curvature")?.get_mut("data")?;
    (data.as_str() == Some(OTHERS)).then_some(data)
}

/// What a suite means where nobody says otherwise.
fn standard() -> Map<String, Value> {
    object(json!({"head": {"kind": "class_means"}, "pack": {"values": "int8"}}))
}

/// Lays `over` over `under`: mappings key by key, everything else as a whole. Of `epochs` and `steps` the last one said counts.
fn lay_over(under: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => lay_over(below, above),
            _ => {
                let other = match key.as_str() {
                    "epochs" => Some("steps"),
                    "steps" => Some("epochs"),
                    _ => None,
                };
                if let Some(other) = other {
                    under.shift_remove(other);
                }
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
