//! The steps of a pipeline as a graph: an edge leads from a step to each step that uses its result or waits for it.

use mlpipe_spec::Pipeline;
use petgraph::Direction;
use petgraph::dot::{Config, Dot};
use petgraph::graph::{DiGraph, NodeIndex};

/// Returns the graph; node `i` is step `i` and bears its name.
pub fn step_graph(pipeline: &Pipeline) -> DiGraph<&str, ()> {
    let mut graph = DiGraph::with_capacity(pipeline.steps.len(), pipeline.steps.len());
    for step in &pipeline.steps {
        graph.add_node(step.name.as_str());
    }
    for (downstream, step) in pipeline.steps.iter().enumerate() {
        for upstream in step.upstream() {
            graph.add_edge(NodeIndex::new(upstream), NodeIndex::new(downstream), ());
        }
    }
    graph
}

/// Returns the graph in Graphviz's language.
pub fn dot(pipeline: &Pipeline) -> String {
    let graph = step_graph(pipeline);
    let label = |_: &DiGraph<&str, ()>, (_, name): (NodeIndex, &&str)| format!("label = \"{name}\" shape = box");
    let edge = |_: &DiGraph<&str, ()>, _: petgraph::graph::EdgeReference<'_, ()>| String::new();
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    format!("{:?}", Dot::with_attr_getters(&graph, &config, &edge, &label))
}

/// Returns the graph in Mermaid's language, as Markdown on GitHub and elsewhere shows it. A step that is a pipeline is a box
/// around its steps.
pub fn mermaid(pipeline: &Pipeline) -> String {
    let mut lines = vec!["flowchart LR".to_owned()];
    let mut open: Vec<&str> = Vec::new();
    // Names may be words of the language, so nodes are numbered and names are labels.
    for (number, step) in pipeline.steps.iter().enumerate() {
        let groups: Vec<&str> = step.name.enclosing().collect();
        let shared = open.iter().zip(&groups).take_while(|(one, other)| one == other).count();
        lines.extend(open[shared..].iter().map(|_| "  end".to_owned()));
        let begin = |(depth, group): (usize, &&str)| format!("  subgraph g{number}_{depth}[\"{group}\"]");
        lines.extend(groups.iter().enumerate().skip(shared).map(begin));
        lines.push(format!("  s{number}[\"{}\"]", step.name));
        open = groups;
    }
    lines.extend(open.iter().map(|_| "  end".to_owned()));
    let graph = step_graph(pipeline);
    let ends = graph.edge_indices().filter_map(|edge| graph.edge_endpoints(edge));
    lines.extend(ends.map(|(from, to)| format!("  s{} --> s{}", from.index(), to.index())));
    lines.push(String::new());
    lines.join("\n")
}

/// Returns for each step how many steps the longest path from it to an end of the pipeline still holds.
///
/// Steps come after those they need, so one pass backwards sees every longer path first.
pub(crate) fn heights(pipeline: &Pipeline) -> Vec<usize> {
    let graph = step_graph(pipeline);
    let mut heights = vec![0; graph.node_count()];
    for step in graph.node_indices().rev() {
        let downstream = graph.neighbors_directed(step, Direction::Outgoing);
        heights[step.index()] = downstream.map(|next| heights[next.index()] + 1).max().unwrap_or(0);
    }
    heights
}
