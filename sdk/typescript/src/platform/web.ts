import { ClientError } from "../errors.js";
import type { OpenSocket, Socket, SocketEvents, SocketOptions } from "./socket.js";

/** How often a full buffer is looked at, in ms: browsers don't report when it is empty. */
const drainInterval = 10;

class WebSocketSocket implements Socket {
  private readonly ws: WebSocket;
  private events: SocketEvents | undefined; // undefined after the end
  private timer: ReturnType<typeof setTimeout> | undefined;
  heard = 0;

  constructor(url: string, events: SocketEvents, private maxBytes: number) {
    this.events = events;
    this.ws = new WebSocket(url);
    this.ws.binaryType = "arraybuffer";
    this.ws.onopen = () => this.events?.open();
    this.ws.onmessage = ({ data }) => {
      this.receive(data);
    };
    // A close event follows, but not with each version of Node.js.
    this.ws.onerror = () => {
      setTimeout(() => {
        this.end(0, "", new ClientError("CONNECTION", "the connection broke"));
      });
    };
    this.ws.onclose = ({ code, reason }) => {
      // 1005 and 1006 stand for no code at all (RFC 6455, section 7.4.1).
      const none = code === 1005 || code === 1006;
      this.end(none ? 0 : code, reason, code === 1006 ? new ClientError("CONNECTION", "the connection broke") : undefined);
    };
  }

  private receive(data: unknown): void {
    this.heard++;
    if (typeof data !== "string") this.fail("binary message from the hub: is it a mastersocket hub?");
    else if (data.length > this.maxBytes) this.fail(`message of more than ${this.maxBytes} bytes from the hub`);
    else this.events?.text(data);
  }

  private fail(why: string): void {
    this.ws.close();
    this.end(0, "", new ClientError("CONNECTION", why));
  }

  private end(code: number, reason: string, error?: Error): void {
    clearTimeout(this.timer);
    const { events } = this;
    this.events = undefined;
    events?.end(code, reason, error);
  }

  send(text: string): void {
    this.ws.send(text);
  }

  get buffered(): number {
    return this.ws.bufferedAmount;
  }

  awaitDrain(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      if (this.ws.bufferedAmount === 0) this.events?.drained();
      else if (this.events) this.awaitDrain();
    }, drainInterval);
  }

  limit(bytes: number): void {
    this.maxBytes = bytes;
  }

  close(): void {
    this.ws.close(1000);
  }

  terminate(): void {
    clearTimeout(this.timer);
    this.events = undefined;
    this.ws.close();
  }
}

/** Opens the platform's WebSocket. */
export const openSocket: OpenSocket = (url: string, _options: SocketOptions, events: SocketEvents, maxBytes: number) =>
  Promise.resolve(new WebSocketSocket(url, events, maxBytes));
