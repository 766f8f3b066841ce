package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// parseData reads the JSON value that was given as an argument; nil for none.
func parseData(s string) (jsontext.Value, error) {
	if s == "" {
		return nil, nil
	}
	v, err := readOnly(newInput(strings.NewReader(s)))
	if err != nil {
		return nil, fmt.Errorf("DATA is not JSON: %w: %.100s\nA string needs its own quotes, within those of the shell: '\"hello\"'", err, s)
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
	in := newInput(r)
	results := make(chan result)
	number := 0
	return func(ctx context.Context) (value, error) {
		number++
		go func(number int) {
			v, err := in.next()
			if err != nil && err != io.EOF {
				err = fmt.Errorf("standard input: value %d is not JSON: %w", number, err)
			}
			select {
			case results <- result{value{number: number, data: v}, err}:
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
	v, err := readOnly(newInput(r))
	if err != nil {
		return nil, fmt.Errorf("standard input: want one JSON value: %w", err)
	}
	return v, nil
}

// readOnly reads the one JSON value that the input must have.
func readOnly(in *input) (jsontext.Value, error) {
	v, err := in.next()
	switch {
	case err == io.EOF:
		return nil, errors.New("there is none")
	case err != nil:
		return nil, err
	}
	switch _, err := in.next(); {
	case err == nil:
		return nil, errors.New("there is more than one")
	case err != io.EOF:
		return nil, err
	}
	return v, nil
}

// input reads JSON values, and knows on which line and at which byte of the line an error is.
type input struct {
	dec   *jsontext.Decoder
	r     io.Reader
	read  int64   // bytes so far
	line  int     // of the first byte behind the last value, counted from 1
	start int64   // offset of that line's first byte
	ends  []int64 // offsets of the line feeds behind the last value
}

func newInput(r io.Reader) *input {
	in := &input{r: r, line: 1}
	in.dec = jsontext.NewDecoder(in, jsontext.AllowDuplicateNames(true))
	return in
}

// Read reads for the decoder.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			in.ends = append(in.ends, in.read+int64(i))
		}
	}
	in.read += int64(n)
	return n, err
}

// next returns a copy of the next value, or io.EOF. Another error says where it is.
func (in *input) next() (jsontext.Value, error) {
	v, err := in.dec.ReadValue()
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		in.advance(syntax.ByteOffset)
		return nil, fmt.Errorf("line %d, byte %d: %w", in.line, syntax.ByteOffset-in.start+1, syntax.Err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		in.advance(in.read)
		return nil, fmt.Errorf("line %d, byte %d: it ends within a value", in.line, in.read-in.start+1)
	}
	in.advance(in.dec.InputOffset())
	return v.Clone(), err
}

// advance forgets the lines before an offset.
func (in *input) advance(offset int64) {
	for len(in.ends) > 0 && in.ends[0] < offset {
		in.line, in.start, in.ends = in.line+1, in.ends[0]+1, in.ends[1:]
	}
}
