// Package handshake is the opening handshake of a WebSocket connection (RFC 6455 section 4) as a function of bytes:
// nothing here reads, writes or waits. A listener gathers bytes and asks, in this order,
//
//	Parse          is a whole, well-formed request there?  ErrIncomplete: gather on; *Rejection: 400, 431 or 505
//	its hosts      is the listener addressed as r.Host?    RejectMisdirected: 421
//	its routes     is there something at r.Path?           RejectNotFound: 404
//	CheckUpgrade   may it become a WebSocket?              *Rejection: 405, 400, 426 or 403
//	AppendAccept   the 101
//
// and answers a *Rejection with AppendResponse and closes. Parse is stricter than net/http: a request that two readers
// could understand differently is refused.
//
// [ParseOrigins] parses --allowed-origins. The server and the checker of settings both call it, so that one accepts
// what the other does.
//
// All functions are pure, and an [OriginPolicy] is immutable: any number of goroutines may use them.
package handshake
