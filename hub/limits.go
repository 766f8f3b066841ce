package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mastersocket/mastersocket/auth"
)

// limits bound the messages of one connection. Connections whose token has no rate of its own share one.
type limits struct {
	own   *rate.Limiter // of the connection; nil for none
	total *holder       // of all connections of the same holder on this instance
}

// holder is what shows one token, or signed tokens or certificates of one subject, over all of its connections.
type holder struct {
	key         string
	shared      limits // of connections without a limit of their own
	connections atomic.Int64
	fences      *rate.Limiter
	visits      int     // Callers; guarded by the mu of holders, as visitor
	visitor     *limits // of all Callers; nil for none so far

	messages, bytes atomic.Pointer[rate.Limiter] // nil for no limit
}

// A holder may send so many FENCEs a second whatever its token says: a few for each of its connections, of which a move
// needs two, and some more.
const (
	fencesPerConnection = 4
	fencesAnyway        = 100
)

// holders are the holders with connections, and those that are Callers. The zero holders are none.
type holders struct {
	mu  sync.Mutex
	all map[string]*holder
}

// add counts one more connection of a holder, whose subject is empty for other than signed tokens and certificates. It
// returns nil if the grant allows no more.
func (a *holders) add(g *auth.Grant, subject string, maxMessage int) *limits {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.find(holderKey(g, subject))
	n := o.connections.Load() + 1
	if most := g.Total.Connections; most > 0 && n > int64(most) {
		return nil
	}
	a.all[o.key] = o
	o.resize(n)
	o.configure(g, maxMessage)
	return o.limits(g)
}

// holderKey returns the key of a holder: its subject is empty for other than signed tokens and certificates.
func holderKey(g *auth.Grant, subject string) string { return g.Name + "\x00" + subject }

// find returns the holder with that key, a new one that is not in the map yet if there is none. mu must be held.
func (a *holders) find(key string) *holder {
	if a.all == nil {
		a.all = make(map[string]*holder)
	}
	o := a.all[key]
	if o == nil {
		o = &holder{key: key, fences: rate.NewLimiter(fencesAnyway, fencesPerConnection+fencesAnyway)}
		o.shared.total = o
	}
	return o
}

// visit returns the limits of a Caller. They are the same for all Callers of the holder, as if these were one connection.
// leave undoes it.
func (a *holders) visit(g *auth.Grant, subject string, maxMessage int) *limits {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.find(holderKey(g, subject))
	a.all[o.key] = o
	o.visits++
	o.configure(g, maxMessage)
	if v := o.visitor; v == nil || !v.isFor(g) {
		o.visitor = o.limits(g)
	}
	return o.visitor
}

// leave undoes visit.
func (a *holders) leave(l *limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := l.total
	o.visits--
	a.drop(o)
}

// drop forgets a holder without connections that is no Caller. mu must be held.
func (a *holders) drop(o *holder) {
	if o.connections.Load() == 0 && o.visits == 0 {
		delete(a.all, o.key)
	}
}

// isFor reports whether the limits are those that the grant gives one connection.
func (l *limits) isFor(g *auth.Grant) bool {
	if l.own == nil {
		return g.Rate <= 0
	}
	return l.own.Limit() == rate.Limit(g.Rate) && l.own.Burst() == max(g.Burst, 1)
}

// remove undoes add.
func (a *holders) remove(l *limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := l.total
	o.resize(o.connections.Load() - 1)
	a.drop(o)
}

// change returns the limits in place of l where the grant is another one.
func (a *holders) change(l *limits, g *auth.Grant, maxMessage int) *limits {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.total.configure(g, maxMessage)
	return l.total.limits(g)
}

// resize sets the number of connections. The holders' mu must be held, as for the next two.
func (o *holder) resize(n int64) {
	o.connections.Store(n)
	perSecond := int(n)*fencesPerConnection + fencesAnyway
	o.fences.SetLimit(rate.Limit(perSecond))
	o.fences.SetBurst(perSecond)
}

// configure puts the grant's limits in force.
func (o *holder) configure(g *auth.Grant, maxMessage int) {
	set(&o.messages, g.Total.Rate, 1)
	set(&o.bytes, g.Total.Bytes, float64(maxMessage))
}

// set puts a rate in force, 0 for none. A second's worth, and least at least, may come at once.
func set(l *atomic.Pointer[rate.Limiter], perSecond, least float64) {
	burst := int(max(perSecond, least))
	switch now := l.Load(); {
	case perSecond == 0:
		l.Store(nil)
	case now == nil:
		l.Store(rate.NewLimiter(rate.Limit(perSecond), burst))
	case now.Limit() != rate.Limit(perSecond) || now.Burst() != burst:
		now.SetLimit(rate.Limit(perSecond))
		now.SetBurst(burst)
	}
}

// limits returns the limits of one connection.
func (o *holder) limits(g *auth.Grant) *limits {
	if g.Rate <= 0 {
		return &o.shared
	}
	return &limits{own: rate.NewLimiter(rate.Limit(g.Rate), max(g.Burst, 1)), total: o}
}

// allows counts a message of so many bytes, and reports whether it may pass. A nil limits allows all.
func (l *limits) allows(bytes int) bool {
	if l == nil {
		return true
	}
	return (l.own == nil || l.own.Allow()) && l.total.allows(bytes)
}

// allows is limits.allows over all connections.
func (o *holder) allows(bytes int) bool {
	if m := o.messages.Load(); m != nil && !m.Allow() {
		return false
	}
	b := o.bytes.Load()
	return b == nil || b.AllowN(time.Now(), bytes)
}

// allowsFence counts a FENCE.
func (l *limits) allowsFence(bytes int) bool {
	return l == nil || l.total.fences.Allow() && l.total.allows(bytes)
}
