// What the page's code uses of AVFoundation, as Apple documents it, to be compiled and never run.
@_exported import CoreVideo
@_exported import Foundation

public let kCVPixelBufferPixelFormatTypeKey: CFString = "PixelFormatType"

public struct AVMediaType: Sendable {
    public static let video = AVMediaType()
}

public final class CMSampleBuffer {
    public var imageBuffer: CVBuffer? { nil }
}

public final class AVCaptureConnection {
    public var videoRotationAngle = CGFloat(0)
    public var isVideoMirrored = false
    public var automaticallyAdjustsVideoMirroring = true
}

open class AVCaptureOutput {
    public init() {}
    public func connection(with mediaType: AVMediaType) -> AVCaptureConnection? { nil }
}

public protocol AVCaptureVideoDataOutputSampleBufferDelegate: NSObject {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sample: CMSampleBuffer, from connection: AVCaptureConnection)
}

public final class AVCaptureVideoDataOutput: AVCaptureOutput {
    public var videoSettings: [String: Any]! = nil
    public var alwaysDiscardsLateVideoFrames = true

    public func setSampleBufferDelegate(
        _ delegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?, queue: DispatchQueue?
    ) {}
}

public final class AVCaptureSession {
    public func addOutput(_ output: AVCaptureOutput) {}
}
