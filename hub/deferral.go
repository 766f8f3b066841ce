package hub

import "slices"

// deferral puts off what service types do while a message is being delivered: the list of its receivers must not change
// meanwhile, and what the delivery causes must not overtake the message on its way to other loops and instances. It belongs
// to its loop.
type deferral struct {
	delivering bool // within one loop
	spreading  bool // the message has yet to leave for other loops and instances
	running    bool // what was put off is being done
	put        []func()

	deliveries uint64 // so far
}

// beginDelivery and endDelivery enclose the delivery of one message to service types on the loop.
func (d *deferral) beginDelivery() {
	d.delivering = true
	d.deliveries++
}

func (d *deferral) endDelivery() {
	d.delivering = false
	d.catchUp()
}

// beginSpread and endSpread enclose all that is done with one message to many.
func (d *deferral) beginSpread() { d.spreading = true }

func (d *deferral) endSpread() {
	d.spreading = false
	d.catchUp()
}

// mustWait reports whether what a service type does has to be put off: while a message is being delivered, and behind what
// was put off before.
func (d *deferral) mustWait() bool { return d.delivering || len(d.put) > 0 }

// do runs f now or, where it must wait, when its turn has come.
func (d *deferral) do(f func()) {
	if d.mustWait() {
		d.put = append(d.put, f)
		return
	}
	f()
}

// catchUp does what was put off, in its order: what that causes in turn comes behind the rest.
func (d *deferral) catchUp() {
	if d.spreading || d.running {
		return
	}
	d.running = true
	for len(d.put) > 0 {
		f := d.put[0]
		d.put = slices.Delete(d.put, 0, 1)
		f()
	}
	d.running = false
}
