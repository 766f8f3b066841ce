// A fan-out server on top of npm's ws, without compression and without the check for invalid UTF-8 (messages are
// binary). bufferutil, which ws recommends for speed, is installed.
//
//   node ws.js ADDRESS PORT
//
// It speaks the plain dialect of package servers.
'use strict';

const { WebSocketServer } = require('ws');

const [host, port] = process.argv.slice(2);
const clients = []; // by number; undefined if the client has left
const binary = { binary: true };
const S = 'S'.charCodeAt(0), P = 'P'.charCodeAt(0), D = 'D'.charCodeAt(0);

const server = new WebSocketServer({
  host, port: Number(port), backlog: 4096,
  perMessageDeflate: false, clientTracking: false, skipUTF8Validation: true,
});

server.on('connection', (socket) => {
  socket.on('message', (message) => {
    switch (message[0]) {
      case S:
        socket.number = clients.push(socket) - 1;
        socket.send(Buffer.from('S' + socket.number.toString(16).padStart(8, '0')), binary);
        break;
      case P:
        for (const client of clients) client?.send(message, binary);
        break;
      case D:
        clients[parseInt(message.toString('latin1', 1, 9), 16)]?.send(message, binary);
    }
  });
  socket.on('error', () => {}); // close follows
  socket.on('close', () => { if (socket.number !== undefined) clients[socket.number] = undefined; });
});
