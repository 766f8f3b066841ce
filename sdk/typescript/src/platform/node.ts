import type { IncomingMessage } from "node:http";
import type { Socket as NetSocket } from "node:net";

import type { RawData, WebSocket as WS } from "ws";

import { ClientError, cut, HandshakeError } from "../errors.js";
import type { OpenSocket, Socket, SocketEvents, SocketOptions } from "./socket.js";
import { openSocket as openWebSocket } from "./web.js";

type Constructor = typeof WS;

let constructor: Promise<Constructor | undefined> | undefined;

/**
 * The package ws, if it is installed. It tells the HTTP status of a refused handshake, lets a client stop reading, and takes
 * headers and TLS options, which the platform's own WebSocket does not.
 */
async function findWS(): Promise<Constructor | undefined> {
  try {
    return (await import("ws")).WebSocket;
  } catch {
    return undefined;
  }
}

/** How much of a refusal's body an error quotes, in bytes. */
const bodyBytes = 512;
const bodyTimeout = 1_000;

/**
 * What ws refuses by the header of a frame, before it arrives: more than the hub's largest message. The limit of a client may be
 * lower, and changes with its hub.
 */
const hardLimit = 65 << 20;

/** The likely cause of a status; empty if there is none. */
const cause = (status: number): string =>
  ({
    2: "; this is an HTTP server without WebSocket, such as a proxy's login page",
    3: "; redirects are not followed",
    4: status === 426 ? "; a proxy on the way may have removed the upgrade to WebSocket" : "",
  })[Math.floor(status / 100)] ?? "";

/** Why a handshake was refused. */
export function handshakeError(status: number, server: string, body: string): HandshakeError {
  const by = server ? ` by ${cut(server, 80)}` : "";
  const text = `refused with HTTP status ${status}${by}${body ? `: ${cut(body, 500)}` : ""}${cause(status)}`;
  return new HandshakeError(text, status, server, body);
}

class WSSocket implements Socket {
  private readonly ws: WS;
  private net: NetSocket | undefined;
  private events: SocketEvents | undefined; // undefined after the end
  private error: Error | undefined;
  private corked = false;

  constructor(ws: Constructor, url: string, options: SocketOptions, events: SocketEvents, private maxBytes: number) {
    this.events = events;
    this.ws = new ws(url, {
      perMessageDeflate: false,
      followRedirects: false,
      ...(options.ws === false ? undefined : options.ws),
      maxPayload: Math.max(hardLimit, maxBytes),
      ...(options.headers && { headers: options.headers }),
    });
    this.ws.on("upgrade", (res: IncomingMessage) => (this.net = res.socket));
    this.ws.on("unexpected-response", (_req: unknown, res: IncomingMessage) => {
      this.refused(res);
    });
    this.ws.on("open", () => this.events?.open());
    this.ws.on("message", (data: RawData, binary: boolean) => {
      if (binary) this.fail(new ClientError("CONNECTION", "binary message from the hub: is it a mastersocket hub?"));
      else this.receive(data as Buffer);
    });
    this.ws.on("error", (err) => (this.error = new ClientError("CONNECTION", err.message, err)));
    this.ws.on("close", (code, reason) => {
      // 1005 and 1006 stand for no code at all (RFC 6455, section 7.4.1).
      const none = code === 1005 || code === 1006;
      this.end(none ? 0 : code, reason.toString(), this.error ?? (code === 1006 ? broken() : undefined));
    });
  }

  private receive(data: Buffer): void {
    if (data.length > this.maxBytes) this.fail(new ClientError("CONNECTION", `message of more than ${this.maxBytes} bytes from the hub`));
    else this.events?.text(data.toString());
  }

  /** Reads the beginning of a refusal's body. */
  private refused(res: IncomingMessage): void {
    let body = "";
    const done = () => {
      clearTimeout(timer);
      this.fail(handshakeError(res.statusCode ?? 0, String(res.headers.server ?? ""), body));
    };
    const timer = setTimeout(done, bodyTimeout);
    res.setEncoding("utf8");
    res.on("data", (part: string) => {
      body = (body + part).slice(0, bodyBytes);
      if (body.length === bodyBytes) done();
    });
    res.on("end", done);
    res.on("error", done);
  }

  private fail(error: Error): void {
    this.ws.terminate();
    this.end(0, "", error);
  }

  private end(code: number, reason: string, error?: Error): void {
    const { events } = this;
    this.events = undefined;
    events?.end(code, reason, error);
  }

  /** Sends of the same turn of the event loop are written at once. */
  send(text: string): void {
    if (this.net && !this.corked) {
      const { net } = this;
      this.corked = true;
      net.cork();
      process.nextTick(() => {
        this.corked = false;
        net.uncork();
      });
    }
    this.ws.send(text);
  }

  get buffered(): number {
    return this.ws.bufferedAmount;
  }

  get heard(): number {
    return this.net?.bytesRead ?? 0;
  }

  awaitDrain(): void {
    const check = () => {
      if (this.ws.bufferedAmount === 0) this.events?.drained();
      else if (this.events) this.net?.once("drain", check);
    };
    this.net?.once("drain", check);
  }

  pause = (): void => {
    if (this.ws.readyState === 1) this.ws.pause();
  };

  resume = (): void => {
    if (this.ws.isPaused) this.ws.resume();
  };

  limit(bytes: number): void {
    this.maxBytes = bytes;
  }

  close(): void {
    this.ws.close(1000);
  }

  terminate(): void {
    this.events = undefined;
    this.ws.terminate();
  }
}

const broken = () => new ClientError("CONNECTION", "the connection broke");

/** Opens a WebSocket of the package ws or, if that is not installed, the platform's own. */
export const openSocket: OpenSocket = async (url, options, events, maxBytes) => {
  const ws = options.ws === false ? undefined : await (constructor ??= findWS());
  if (ws) return new WSSocket(ws, url, options, events, maxBytes);
  if (typeof WebSocket === "undefined") {
    throw new ClientError("OPTIONS", "this Node.js has no WebSocket of its own: install the package ws");
  }
  if (options.headers || options.ws) throw new ClientError("OPTIONS", "headers and ws need the package ws: install it");
  return openWebSocket(url, options, events, maxBytes);
};
