// What the sources use of CoreVideo, as Apple documents it.  Rows are padded.
@_exported import Foundation

public typealias CVReturn = Int32
public typealias OSType = UInt32
public typealias CFString = NSString
public typealias CFDictionary = NSDictionary
public typealias CVPixelBuffer = CVBuffer

public let kCVPixelFormatType_32BGRA: OSType = 0x4247_5241
public let kCVPixelBufferIOSurfacePropertiesKey: CFString = "IOSurfaceProperties"

public struct CVPixelBufferLockFlags: OptionSet {
    public static let readOnly = CVPixelBufferLockFlags(rawValue: 1)
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public final class CVBuffer {
    public let width, height, stride: Int
    public let base: UnsafeMutableRawPointer

    init(_ width: Int, _ height: Int) {
        (self.width, self.height, stride) = (width, height, 4 * width + 48)
        base = .allocate(byteCount: stride * height, alignment: 64)
    }

    deinit { base.deallocate() }
}

@discardableResult
public func CVPixelBufferCreate(
    _ allocator: AnyObject?, _ width: Int, _ height: Int, _ format: OSType, _ attributes: CFDictionary?,
    _ out: UnsafeMutablePointer<CVPixelBuffer?>
) -> CVReturn {
    out.pointee = CVBuffer(width, height)
    return 0
}

@discardableResult
public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { 0 }
@discardableResult
public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { 0 }
public func CVPixelBufferGetPixelFormatType(_ buffer: CVPixelBuffer) -> OSType { kCVPixelFormatType_32BGRA }
public func CVPixelBufferGetWidth(_ buffer: CVPixelBuffer) -> Int { buffer.width }
public func CVPixelBufferGetHeight(_ buffer: CVPixelBuffer) -> Int { buffer.height }
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { buffer.stride }
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? { buffer.base }
