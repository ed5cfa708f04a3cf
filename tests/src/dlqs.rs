//! The dead-letter queues of the template.

use anyhow::{Context as _, Result};
use switchyard_local::Template;

/// A dead-letter queue.
#[derive(Clone, Debug)]
pub struct DlqSpec {
    /// Its logical id, `AdtDlq`.
    pub id: String,
    /// Its name for operators, `adt`.
    pub name: String,
    /// Its local name in SQS, `AdtDlq.fifo`.
    pub queue: String,
    /// The function that archives its messages, `adt-sweep`.
    pub sweep: String,
    /// The workflow of that function.
    pub workflow: String,
}

/// Every dead-letter queue.
///
/// # Errors
/// The template cannot be read, or a queue is not archived by any sweep.
pub fn dlqs() -> Result<Vec<DlqSpec>> {
    let template = Template::read(&crate::root().join("template.yaml"), "http://aws")?;
    let sweeps: Vec<_> = template.functions()?.into_iter().filter(|spec| spec.binary == "retry-sweeper").collect();
    let queues = template.resources("AWS::SQS::Queue")?.into_iter();
    let names = queues.filter_map(|(id, _)| Some((id.strip_suffix("Dlq")?.to_lowercase(), id)));
    let spec = |(name, id): (String, String)| {
        let queue = template.queue_name(&id);
        let pair = format!("{name}=http://aws/000000000000/{queue}");
        let archives = |dlqs: &str| dlqs.split(',').any(|other| other == pair);
        let sweep = sweeps.iter().find(|sweep| sweep.variables.get("DLQS").is_some_and(|dlqs| archives(&dlqs.value)));
        let sweep = sweep.with_context(|| format!("no sweep archives {id}"))?;
        let workflow = sweep.workflow.clone().with_context(|| format!("{} has a workflow", sweep.name))?;
        Ok(DlqSpec { id, name, queue, sweep: sweep.name.clone(), workflow })
    };
    names.map(spec).collect()
}
