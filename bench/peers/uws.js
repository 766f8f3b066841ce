// A fan-out server on uWebSockets.js, with its topics.
//
//   node uws.js FOLDER-OF-uWebSockets.js ADDRESS PORT
//
// It speaks the plain dialect of package servers.
'use strict';

const [folder, host, port] = process.argv.slice(2);
const uws = require(folder);

const clients = []; // by number; undefined if the client has left
const S = 'S'.charCodeAt(0), P = 'P'.charCodeAt(0), D = 'D'.charCodeAt(0);
const T = 'T'.charCodeAt(0), G = 'G'.charCodeAt(0);
const topic = 'bench';

const app = uws.App().ws('/*', {
  compression: uws.DISABLED, idleTimeout: 0, sendPingsAutomatically: false, maxBackpressure: 16 << 20,
  maxPayloadLength: 64 << 10,
  upgrade: (res, req, context) => {
    res.upgrade({ number: -1 }, req.getHeader('sec-websocket-key'), '', '', context);
  },
  message: (socket, message) => {
    const bytes = Buffer.from(message);
    switch (bytes[0]) {
      case S:
      case T: {
        const data = socket.getUserData();
        data.number = clients.push(socket) - 1;
        socket.subscribe(bytes[0] === S ? topic : bytes.toString('latin1', 1, 5));
        socket.send('S' + data.number.toString(16).padStart(8, '0'), true);
        break;
      }
      case P:
        app.publish(topic, message, true);
        break;
      case G:
        app.publish(bytes.toString('latin1', 1, 5), message, true);
        break;
      case D:
        clients[parseInt(bytes.toString('latin1', 1, 9), 16)]?.send(message, true);
    }
  },
  close: (socket) => {
    const { number } = socket.getUserData();
    if (number >= 0) clients[number] = undefined;
  },
});

app.listen(host, Number(port), (listening) => {
  if (!listening) {
    console.error(`can't listen on ${host}:${port}`);
    process.exit(1);
  }
});
