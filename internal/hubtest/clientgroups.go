//go:build linux

package hubtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

// ErrRefused: the hub refused a SUBSCRIBE or UNSUBSCRIBE.
var ErrRefused = errors.New("refused")

// Subscribe makes the client a member of a group and waits for the answer. Calls of Subscribe and Unsubscribe must not overlap.
func (c *Client) Subscribe(ctx context.Context, group string) error {
	if !c.granted { // an older release
		return ErrRefused
	}
	c.record.Subscribing(group)
	return c.regroup(ctx, opSubscribe, group)
}

// Unsubscribe takes the client out of a group and waits for the answer.
func (c *Client) Unsubscribe(ctx context.Context, group string) error {
	c.record.Unsubscribing(group)
	return c.regroup(ctx, opUnsubscribe, group)
}

func (c *Client) regroup(ctx context.Context, op int, group string) error {
	c.change.Store(&group)
	b, err := json.Marshal(map[string]any{"op": op, "id": "change", "data": map[string]any{"groups": []string{group}}})
	if err != nil {
		return err
	}
	if err := c.conn.Write(ctx, websocket.MessageText, b); err != nil {
		return fmt.Errorf("%v changes its groups: %w", c.record, err)
	}
	select {
	case err := <-c.answers:
		return err
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("%v waits for the answer to a change of its groups: %w", c.record, context.Cause(ctx))
	}
}

// changed handles the answer to a SUBSCRIBE or UNSUBSCRIBE.
func (c *Client) changed(m *wire, p []byte) {
	group := c.change.Swap(nil)
	var data struct {
		Groups []string `json:"groups"`
		Error  *struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &data); {
	case err != nil || group == nil || m.ID != "change":
		c.record.Stray("an answer to no change of groups: %.200q", p)
	case data.Error != nil:
		if *m.Op == opSubscribe {
			c.record.NotSubscribed(*group)
		}
		c.answers <- fmt.Errorf("%w: %s", ErrRefused, data.Error.Code)
	case len(data.Groups) != 1 || data.Groups[0] != *group:
		c.record.Stray("the answer to another change of groups: %.200q", p)
	default:
		if *m.Op == opSubscribe {
			c.record.Subscribed(*group)
		} else {
			c.record.Unsubscribed(*group)
		}
		c.answers <- nil
	}
}
