package hub

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// MaxPage is the greatest number of entries in one page of a list.
const MaxPage = 500

// ErrCursor: a cursor that no page had.
var ErrCursor = errors.New("invalid cursor")

// encodeCursor returns the place v in a list as text that means nothing to its holder.
func encodeCursor(v any) string {
	b, _ := json.Marshal(v) // a string or a place: always possible
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor reads into v what encodeCursor wrote; nothing for an empty cursor.
func decodeCursor(cursor string, v any) error {
	if cursor == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(b, v) != nil {
		return fmt.Errorf("%w: %q", ErrCursor, cursor)
	}
	return nil
}
