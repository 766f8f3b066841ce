/** Options of the WebSocket that only some platforms have. */
export interface SocketOptions {
  /** Headers of the handshake. Only with the package ws. */
  headers?: Record<string, string>;
  /**
   * Further options of the package ws, such as `ca`, `cert`, `key` (TLS) and `agent` (a proxy's). In Node.js false takes the
   * platform's own WebSocket even if the package is installed.
   */
  ws?: Record<string, unknown> | false;
}

/** What a WebSocket reports. Nothing follows the end. */
export interface SocketEvents {
  open(): void;
  text(raw: string): void;
  /** What was buffered is written. */
  drained(): void;
  /** The end. The error is that of the platform, or of a refused handshake; without one there was a close frame or nothing. */
  end(code: number, reason: string, error?: Error): void;
}

/** A WebSocket, whatever the platform. */
export interface Socket {
  send(text: string): void;
  /** Bytes that are not written yet. */
  readonly buffered: number;
  /** Changes with each byte that arrives or, where the platform doesn't tell, with each message. */
  readonly heard: number;
  /** Reports drained once what is buffered is written. */
  awaitDrain(): void;
  /** Stops and continues reading; undefined where the platform can't. What has arrived may still be reported. */
  readonly pause?: () => void;
  readonly resume?: () => void;
  /** The largest message that is accepted from now on, in bytes. */
  limit(bytes: number): void;
  /** Sends a close frame. */
  close(): void;
  /** Cuts the connection. Nothing is reported after that. */
  terminate(): void;
}

export type OpenSocket = (url: string, options: SocketOptions, events: SocketEvents, maxBytes: number) => Promise<Socket>;
