// A fan-out server on Socket.IO: WebSocket alone, no compression, no pings within a run, and without the reference to
// each client's HTTP request, as its documentation advises to save memory.
//
//   node socketio.js ADDRESS PORT
'use strict';

const http = require('http');
const { Server } = require('socket.io');

const [host, port] = process.argv.slice(2);
const web = http.createServer();
const io = new Server(web, {
  transports: ['websocket'], serveClient: false, perMessageDeflate: false, httpCompression: false,
  pingInterval: 3_600_000, pingTimeout: 3_600_000,
});

io.engine.on('connection', (raw) => { raw.request = null; });
io.on('connection', (socket) => {
  socket.on('subscribe', (done) => { socket.join('bench'); done(); });
  socket.on('publish', (data) => { io.to('bench').emit('m', data); });
  socket.on('direct', (to, data) => { io.sockets.sockets.get(to)?.emit('m', data); });
});
web.listen({ host, port: Number(port), backlog: 4096 });
