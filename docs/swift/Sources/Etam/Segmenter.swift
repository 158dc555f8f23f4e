/// One object on one frame.
public struct Prediction: Sendable {
    /// (S/4, S/4) mask logits, all at the absent logit when the object is not there.
    public var lowRes: Tensor
    /// Object pointer, one number per channel.
    public let pointer: [Float]
    /// Logit of the object being visible.
    public let presence: Float
    /// Predicted IoU of the mask, 0..1.
    public let iou: Float
}

/// An encoded frame, valid for any number of objects.
public struct Features<Handle> {
    let raw, withoutMemory: Handle
}

/// What happens to one object on one frame: prompt or memory in, mask out.  Knows the rules of the decoder, keeps no
/// state.
public struct Segmenter<G: Graphs> {
    public let graphs: G
    public let manifest: Manifest

    public init(_ graphs: G, _ manifest: Manifest) { (self.graphs, self.manifest) = (graphs, manifest) }

    /// The bundle's capacities, that of prompted frames lowered to `promptedFrames` if that is given.
    func memoryRules(promptedFrames: Int? = nil) -> MemoryRules {
        let g = manifest.geometry, wanted = max(promptedFrames ?? g.promptedFrames, 1)
        return MemoryRules(
            recentMemories: g.recentMemories, recentPointers: g.recentPointers,
            promptedFrames: min(wanted, g.promptedFrames))
    }

    public func encode(_ frame: Frame) throws -> Features<G.Handle> {
        let out = try graphs.run(
            "image_encoder", host: ["image": squeezed(frame, manifest.geometry.imageSize)], device: [:])
        return Features(raw: try out.handle("features"), withoutMemory: try out.handle("features_without_memory"))
    }

    /// `points` are empty on a tracked frame.  `previous`: logits of the earlier answer on this frame, which the
    /// points refine.  `recall` is nil on a first prompted frame.
    func segment(
        _ features: Features<G.Handle>, _ points: Points, previous: Tensor?, recall: Recall<G.Handle, Prediction>?
    ) throws -> Prediction {
        let fused = try recall.map { try attend(features, $0) } ?? features.withoutMemory
        let limit = manifest.rules.maskInputLimit
        let input = previous.map { Tensor($0.shape, $0.values.map { min(max($0, -limit), limit) }) }
        return try choose(decode(fused, points.padded, input), several: points.count <= 1)
    }

    /// Takes a mask (S, S) of 0 and 1 as the answer; the decoder only makes its object pointer.
    func accept(_ features: Features<G.Handle>, mask: Tensor) throws -> Prediction {
        let (rules, constants, side) = (manifest.rules, manifest.constants, manifest.geometry.maskSize)
        var dense = Tensor(zeros: [side, side])
        for y in 0..<side {
            for x in 0..<side {
                var sum: Float = 0
                for i in 0..<4 {
                    for j in 0..<4 {
                        sum += constants.maskDownsample[4 * i + j] * mask.values[(4 * y + i) * 4 * side + 4 * x + j]
                    }
                }
                dense.values[y * side + x] = sum + constants.maskDownsampleBias
            }
        }
        let described = try choose(decode(features.raw, Points().padded, dense), several: false)
        let visible = mask.values.contains(1)
        let logits = Tensor(mask.shape, mask.values.map { $0 * rules.maskScale + rules.maskBias })
        return Prediction(
            lowRes: resized(logits, height: side, width: side, antialias: true),
            pointer: visible ? described.pointer : constants.noObjectPointer,
            presence: visible ? rules.maskScale + rules.maskBias : rules.maskBias, iou: 1)
    }

    /// The memory of a frame from its mask logits, thresholded if it was prompted.
    func memorize(_ features: Features<G.Handle>, _ lowRes: Tensor, binarize: Bool) throws -> G.Handle {
        let host = [
            "mask_logits": Tensor([1, 1] + lowRes.shape, lowRes.values), "binarize": Tensor([1], [binarize ? 1 : 0]),
        ]
        return try graphs.run("memory_encoder", host: host, device: ["features": features.raw]).handle("memory")
    }

    /// Fuses features with memories on the smallest graph that holds them; exactly one memory has its own graph.
    private func attend(_ features: Features<G.Handle>, _ recall: Recall<G.Handle, Prediction>) throws -> G.Handle {
        let g = manifest.geometry
        guard let first = recall.memories.first,
            let slots = g.memoryCounts.first(where: { $0 >= recall.memories.count })
        else { throw EtamError("no graph holds \(recall.memories.count) memories") }
        var device = ["features": features.raw]
        var rows = Tensor(zeros: [slots, g.temporalRows])
        for slot in 0..<slots {
            let used = slot < recall.memories.count
            let number = slot < 10 ? "0\(slot)" : "\(slot)"
            device["memory_\(number)"] = used ? recall.memories[slot].memory : first.memory
            if used { rows.values[slot * g.temporalRows + recall.memories[slot].row] = 1 }
        }
        var pointers = Tensor(zeros: [g.pointerSlots, g.width])
        var used = Tensor(zeros: [g.pointerSlots, 1])
        for (slot, output) in recall.outputs.enumerated() {
            pointers.values.replaceSubrange(slot * g.width..<(slot + 1) * g.width, with: output.pointer)
            used.values[slot] = 1
        }
        let host = ["memory_row": rows, "pointers": pointers, "pointer_used": used]
        return try graphs.run("memory_attention_\(slots)", host: host, device: device).handle("fused")
    }

    private func decode(_ features: G.Handle, _ points: Points, _ mask: Tensor?) throws -> GraphOutputs<G.Handle> {
        let side = manifest.geometry.maskSize
        var host = try points.ports(slots: manifest.geometry.promptSlots)
        host["mask_input"] = mask.map { Tensor([1, 1, side, side], $0.values) } ?? Tensor(zeros: [1, 1, side, side])
        host["mask_used"] = Tensor([1], [mask == nil ? 0 : 1])
        return try graphs.run("mask_decoder", host: host, device: ["features": features])
    }

    /// Picks a mask and gates it by presence.  Of several masks the best predicted IoU wins; a single mask that is
    /// not stable gives way to the best of the others, while its own pointer stays.
    private func choose(_ out: GraphOutputs<G.Handle>, several: Bool) throws -> Prediction {
        let logits = try out.tensor("mask_logits"), iou = try out.tensor("iou").values
        let masks = Tensor(Array(logits.shape.dropFirst()), logits.values)
        let presence = try out.tensor("presence").values[0]
        var best = 1
        for index in 2..<iou.count where iou[index] > iou[best] { best = index }
        let index = !several && isStable(masks[0].values) ? 0 : best
        guard presence > manifest.rules.presenceThreshold else {
            let absent = masks.values.prefix(masks.values.count / iou.count).map { _ in manifest.rules.absentLogit }
            return Prediction(
                lowRes: Tensor(Array(masks.shape.dropFirst()), absent), pointer: manifest.constants.noObjectPointer,
                presence: presence, iou: iou[index])
        }
        let pointer = try out.tensor("mask_pointers")[several ? index : 0].values
        return Prediction(lowRes: masks[index], pointer: pointer, presence: presence, iou: iou[index])
    }

    private func isStable(_ logits: [Float]) -> Bool {
        let delta = manifest.rules.stabilityDelta
        let union = logits.reduce(0) { $0 + ($1 > -delta ? 1 : 0) }
        let inside = logits.reduce(0) { $0 + ($1 > delta ? 1 : 0) }
        return union == 0 || Double(inside) / Double(union) >= manifest.rules.stabilityThreshold
    }
}
