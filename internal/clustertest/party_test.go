//go:build linux

package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// reqFrame is a message as these clients see it.
type reqFrame struct {
	Op     int             `json:"op"`
	ID     string          `json:"id"`
	Data   json.RawMessage `json:"data"`
	More   bool            `json:"more"`
	Sender string          `json:"sender"`
}

// settled is the data of a SETTLED.
type settled struct {
	Receivers, Replied, Passed, More int
	Missing                          []struct {
		ID, Name, Node, Reason string
		Count                  int
	}
}

// party is a client with the feature requests.
type party struct {
	conn *websocket.Conn
	tcp  *net.TCPConn
	id   string
}

func joinParty(ctx context.Context, url, token, group string) (*party, error) {
	p := new(party)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err == nil {
			p.tcp, _ = c.(*net.TCPConn)
		}
		return c, err
	}}
	var err error
	if p.conn, _, err = websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}); err != nil {
		return nil, err
	}
	p.conn.SetReadLimit(1 << 20)
	if err := p.send(`{"op":1,"data":{"token":%q,"group":%q,"features":["requests","errors"]}}`, token, group); err != nil {
		return nil, err
	}
	f, err := p.read(ctx)
	if err != nil || f.Op != 1 {
		return nil, fmt.Errorf("IDENTIFY: %+v, %w", f, err)
	}
	var data struct{ ID string }
	err = json.Unmarshal(f.Data, &data)
	p.id = data.ID
	return p, err
}

func (p *party) send(format string, args ...any) error {
	return p.conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

func (p *party) read(ctx context.Context) (f reqFrame, err error) {
	for {
		_, b, err := p.conn.Read(ctx)
		if err != nil {
			return f, err
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return f, err
		}
		if f.Op != 3 {
			return f, nil
		}
		if err := p.send(`{"op":4}`); err != nil {
			return f, err
		}
		f = reqFrame{}
	}
}

func (p *party) reply(f *reqFrame, members string) error {
	return p.send(`{"op":5,"id":%q%s,"intent":{"target":"DIRECT","identifier":%q}}`, f.ID, members, f.Sender)
}

func (p *party) pass(f *reqFrame) error {
	return p.send(`{"op":14,"id":%q,"intent":{"target":"DIRECT","identifier":%q}}`, f.ID, f.Sender)
}

// reset breaks the connection as the network does.
func (p *party) reset() {
	_ = p.tcp.SetLinger(0)
	_ = p.tcp.Close()
	_ = p.conn.CloseNow()
}
