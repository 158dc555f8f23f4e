// The Swift host, driven and served through its standard input and output by the tests of this repository.
import Etam
import Foundation

let wire = Wire()
let graphs = WiredGraphs(wire: wire)
let manifest = try Manifest(bundle: URL(fileURLWithPath: CommandLine.arguments[1]))
let size = manifest.geometry.imageSize
var stream = Tracker(graphs, manifest)
var video = VideoTracker(graphs, manifest, frameCount: 0) { _ in throw EtamError("there is no video") }
var latest: [Answer] = []

func report(_ word: String, _ answers: [Answer], _ numbers: [String: Int] = [:]) throws {
    latest = answers
    let found = answers.map { Wire.Message.Found(object: $0.object, presence: $0.presence, iou: $0.iou, lost: $0.lost) }
    let tensors = Dictionary(uniqueKeysWithValues: answers.map { ("\($0.object)", $0.lowRes) })
    try wire.send(Wire.Message(word: word, numbers: numbers, found: found), tensors)
}

func obey(_ message: Wire.Message, _ bytes: [UInt8]) throws {
    let numbers = message.numbers
    let width = numbers["width"] ?? 0, height = numbers["height"] ?? 0
    let object = numbers["object"] ?? 0, frame = numbers["frame"]
    let points = message.points.map { (x: $0[0], y: $0[1]) }
    let box =
        message.box.isEmpty ? nil : (x0: message.box[0], y0: message.box[1], x1: message.box[2], y1: message.box[3])
    switch message.word {
    case "stream":
        stream = Tracker(graphs, manifest, fillHoleArea: numbers["fill"] ?? 0)
        try report("done", [])
    case "video":
        video = VideoTracker(
            graphs, manifest, fillHoleArea: numbers["fill"] ?? 0, releasePassedFrames: numbers["release"] == 1,
            forgetAroundPrompts: numbers["around"] == 1, promptedFrames: numbers["prompted"],
            frameCount: numbers["frames"] ?? 0
        ) {
            try wire.send(Wire.Message(word: "load", numbers: ["frame": $0]))
            guard let (_, _, bytes) = try wire.receive() else { throw EtamError("no frame came") }
            return try Frame(width: width, height: height, rgb: bytes)
        }
        try report("done", [])
    case "step":
        let answers = try stream.step(Frame(width: width, height: height, rgb: bytes))
        try report("done", answers, ["frames": stream.held.frames, "memories": stream.held.memories])
    case "points":
        let answers = try frame.map {
            try video.prompt(object, frame: $0, points: points, labels: message.labels, box: box)
        }
        try report("done", answers ?? stream.prompt(object, points: points, labels: message.labels, box: box))
    case "mask":
        let answers = try frame.map { try video.prompt(object, frame: $0, mask: bytes) }
        try report("done", answers ?? stream.prompt(object, mask: bytes))
    case "remove":
        if numbers["video"] == 1 { video.remove(object) } else { stream.remove(object) }
        try report("done", [])
    case "propagate":
        try video.propagate(from: numbers["start"], most: numbers["most"], reverse: numbers["reverse"] == 1) {
            try report("frame", $1, ["frame": $0, "frames": video.held.frames, "memories": video.held.memories])
            return true
        }
        try report("done", [])
    case "squeeze":
        let frame = try Frame(width: width, height: height, rgb: bytes)
        try wire.send(Wire.Message(word: "done"), ["image": squeezed(frame, numbers["size"] ?? size)])
    case "masks":
        let disjoint = disjointMasks(latest, width: width, height: height, rules: manifest.rules)
        let masks = latest.map { $0.mask(width: width, height: height) } + disjoint
        try wire.send(Wire.Message(word: "done"), bytes: masks.flatMap { $0 })
    default: throw EtamError("there is no command \(message.word)")
    }
}

while let (message, _, bytes) = try wire.receive() {
    do { try obey(message, bytes) } catch { try wire.send(Wire.Message(word: "error", text: "\(error)")) }
}
