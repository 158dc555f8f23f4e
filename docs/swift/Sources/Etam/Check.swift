import Foundation

/// How far the clip's answers are from the recorded ones.
public struct ClipCheck: Sendable {
    public var answers = 0
    /// Smallest share of low-resolution pixels on the same side of 0.
    public var agreement = 1.0
    /// Largest error of logits, presence and predicted IoU, relative to the largest magnitude or 1.
    public var error: Float = 0
}

/// The error of one output of a graph over all recorded calls, and how long a run takes.
public struct PortCheck: Sendable {
    public let graph, port: String
    public let calls: Int
    public let error: Float
    public let milliseconds: Double
}

/// Acts out the vectors' script on `graphs` and compares every answer with the recorded one.
public func checkClip<G: Graphs>(_ graphs: G, _ manifest: Manifest, _ vectors: Vectors) throws -> ClipCheck {
    let index = vectors.index
    let tracker = VideoTracker(graphs, manifest, frameCount: index.frames.count) { try vectors.frame($0) }
    var check = ClipCheck()

    func compare(_ frame: Int, _ answers: [Answer]) throws {
        for answer in answers {
            guard check.answers < index.results.count else { throw EtamError("there are more answers than recorded") }
            let wanted = index.results[check.answers]
            guard (wanted.frame, wanted.object) == (frame, answer.object) else {
                throw EtamError(
                    "the vectors expect object \(wanted.object) on frame \(wanted.frame), "
                        + "found object \(answer.object) on frame \(frame)")
            }
            let (a, b) = (answer.lowRes.values, try vectors.floats(wanted.lowRes).values)
            let equal = zip(a, b).reduce(0) { $0 + (($1.0 > 0) == ($1.1 > 0) ? 1 : 0) }
            check.agreement = min(check.agreement, Double(equal) / Double(b.count))
            let numbers = difference([answer.presence, answer.iou], [wanted.presence, wanted.iou], unit: 1)
            check.error = max(check.error, difference(a, b, unit: 1), numbers)
            check.answers += 1
        }
    }

    for step in index.script {
        if step.do == "propagate" {
            try tracker.propagate(from: step.start, most: step.max) {
                try compare($0, $1); return true
            }
            continue
        }
        guard let frame = step.frame, let object = step.object else {
            throw EtamError("a step lacks its frame or object")
        }
        if let mask = step.mask {
            try compare(frame, tracker.prompt(object, frame: frame, mask: vectors.mask(mask)))
        } else {
            let points = (step.points ?? []).map { (x: $0[0], y: $0[1]) }
            let box = step.box.map { (x0: $0[0], y0: $0[1], x1: $0[2], y1: $0[3]) }
            try compare(
                frame, tracker.prompt(object, frame: frame, points: points, labels: step.labels ?? [], box: box))
        }
    }
    guard check.answers == index.results.count else {
        throw EtamError("the vectors expect \(index.results.count) answers, found \(check.answers)")
    }
    return check
}

/// Runs every recorded call on its recorded inputs, `repeats` times, and compares the outputs.
public func checkCalls<G: Graphs>(
    _ graphs: G, _ manifest: Manifest, _ vectors: Vectors, repeats: Int = 1
) throws -> [PortCheck] {
    var worst: [String: [String: Float]] = [:], times: [String: [Double]] = [:]
    for call in vectors.index.calls {
        guard let contract = manifest.graphs[call.graph] else { throw EtamError("there is no graph \(call.graph)") }
        var host: [String: Tensor] = [:], device: [String: G.Handle] = [:]
        for port in contract.inputs {
            guard let number = call.inputs[port.name] else {
                throw EtamError("a call of \(call.graph) lacks \(port.name)")
            }
            let tensor = try vectors.floats(number)
            if port.host {
                host[port.name] = tensor
            } else {
                device[port.name] = try graphs.handle(of: tensor, graph: call.graph, port: port.name)
            }
        }
        for _ in 0..<max(repeats, 1) {
            let start = Date()
            let out = try graphs.run(call.graph, host: host, device: device)
            times[call.graph, default: []].append(Date().timeIntervalSince(start) * 1000)
            for port in contract.outputs {
                guard let number = call.outputs[port.name] else { continue }
                let found = try port.host ? out.tensor(port.name) : graphs.tensor(of: out.handle(port.name))
                let error = difference(found.values, try vectors.floats(number).values, unit: port.unit)
                worst[call.graph, default: [:]][port.name, default: 0] = max(worst[call.graph]?[port.name] ?? 0, error)
            }
        }
    }
    return worst.keys.sorted().flatMap { graph -> [PortCheck] in
        let sorted = times[graph, default: [0]].sorted()
        return worst[graph, default: [:]].sorted { $0.key < $1.key }.map {
            PortCheck(
                graph: graph, port: $0.key, calls: sorted.count / max(repeats, 1), error: $0.value,
                milliseconds: sorted[sorted.count / 2])
        }
    }
}
