// What the page's code uses of Core Graphics, as Apple documents it, to be compiled and never run.
@_exported import Foundation

public typealias CFData = NSData

public final class CGColorSpace {}
public func CGColorSpaceCreateDeviceRGB() -> CGColorSpace { CGColorSpace() }

public final class CGDataProvider {
    public init?(data: CFData) {}
}

public enum CGImageAlphaInfo: UInt32 { case none, premultipliedLast, premultipliedFirst }
public enum CGColorRenderingIntent { case defaultIntent }

public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

public final class CGImage {
    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int, space: CGColorSpace,
        bitmapInfo: CGBitmapInfo, provider: CGDataProvider, decode: UnsafePointer<CGFloat>?, shouldInterpolate: Bool,
        intent: CGColorRenderingIntent
    ) {}
}
