package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"

	"github.com/alecthomas/kong"
)

// decimal is a whole number that every reader understands in the same way: 0100 is 64 to some.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// DecimalNumbers makes kong read whole numbers in decimal alone. By default it takes 0100 for 64, and 0x10 for 16.
func DecimalNumbers() kong.Option {
	return kong.KindMapper(reflect.Int, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue("number")
		if err != nil {
			return err
		}
		text := fmt.Sprint(token.Value)
		n, err := strconv.ParseInt(text, 10, target.Type().Bits())
		if err != nil || !decimal.MatchString(text) {
			return fmt.Errorf("%q is not a whole number in decimal; write digits that don't begin with 0, such as 100", text)
		}
		target.SetInt(n)
		return nil
	}))
}
