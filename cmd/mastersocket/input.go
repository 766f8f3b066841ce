package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// parseData reads the JSON value that was given as an argument; nil for none.
func parseData(s string) (jsontext.Value, error) {
	if s == "" {
		return nil, nil
	}
	v := jsontext.Value(s)
	if !v.IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil, fmt.Errorf("DATA is not JSON: %.100s\nA string needs its own quotes, within those of the shell: '\"hello\"'", s)
	}
	return v, nil
}

// reading returns the next JSON value of some input, or io.EOF.
type reading func(ctx context.Context) (value, error)

// once returns the one value.
func once(data jsontext.Value) reading {
	done := false
	return func(context.Context) (value, error) {
		if done {
			return value{}, io.EOF
		}
		done = true
		return value{number: 1, data: data}, nil
	}
}

// valuesOf returns the JSON values of r, each as soon as it is complete. Once its context has ended it must not be called
// again: the goroutine that reads can't be called back from a terminal or pipe.
func valuesOf(r io.Reader) reading {
	type result struct {
		value value
		err   error
	}
	dec := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true))
	results := make(chan result)
	number := 0
	return func(ctx context.Context) (value, error) {
		number++
		go func(number int) {
			v, err := dec.ReadValue()
			if err != nil && err != io.EOF {
				err = fmt.Errorf("standard input: value %d is not JSON: %w", number, err)
			}
			select {
			case results <- result{value{number: number, data: v.Clone()}, err}:
			case <-ctx.Done():
			}
		}(number)
		select {
		case r := <-results:
			return r.value, r.err
		case <-ctx.Done():
			return value{}, ctx.Err()
		}
	}
}

// named gives all values the same event.
func named(event string, next reading) valueSource {
	return func(ctx context.Context) (value, error) {
		v, err := next(ctx)
		v.event = event
		return v, err
	}
}

// envelopes takes event and data from values that are whole messages.
func envelopes(next reading) valueSource {
	return func(ctx context.Context) (value, error) {
		v, err := next(ctx)
		if err != nil {
			return v, err
		}
		var message struct {
			Event *string        `json:"event"`
			Data  jsontext.Value `json:"data"`
		}
		if err := json.Unmarshal(v.data, &message, jsontext.AllowDuplicateNames(true)); err != nil || message.Event == nil {
			return v, fmt.Errorf("standard input: value %d is not a message with an event, as sub --json prints them: "+
				"to send it as data, name the event with --event", v.number)
		}
		v.event, v.data = *message.Event, message.Data
		return v, nil
	}
}

// onlyValueOf reads the one JSON value that r must have.
func onlyValueOf(r io.Reader) (jsontext.Value, error) {
	dec := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true))
	v, err := dec.ReadValue()
	if err != nil {
		return nil, fmt.Errorf("standard input: want one JSON value: %w", err)
	}
	v = v.Clone()
	if _, err := dec.ReadValue(); err != io.EOF {
		return nil, errors.New("standard input has more than one JSON value: want one")
	}
	return v, nil
}
