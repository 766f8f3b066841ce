package fleet

import (
	"sync/atomic"

	"github.com/mastersocket/mastersocket/hub"
)

// counts are what happened since the start, and the state of the fleets that are led here.
type counts struct {
	words, refusedWords, refusedBots, floods, silent atomic.Uint64
	orders, promotions, shutdowns                    atomic.Uint64
	healthChecks, healthFailures                     atomic.Uint64
	tasks, tasksFailed, tasksNoAgent                 atomic.Uint64
	alarms, leaderships, cutOffs                     atomic.Uint64
	bots, fleetsLed, fleetsWithoutRunner, notSane    atomic.Int64
}

// Metrics implements hub.Meter.
func (s *Service) Metrics() []hub.Metric {
	c := &s.count
	return []hub.Metric{
		gauge("bots", "Bots that are connected to this instance.", &c.bots),
		gauge("fleets_led", "Fleets whose leader this instance is.", &c.fleetsLed),
		gauge("fleets_without_runner", "Fleets led by this instance in which no bot runs.", &c.fleetsWithoutRunner),
		gauge("fleets_not_sane", "Fleets led by this instance that spawn no process until an operator says try again.", &c.notSane),
		counter("words_total", "Events of bots.", &c.words),
		counter("refused_words_total", "Events of bots that were refused.", &c.refusedWords),
		counter("refused_bots_total", "Bots that were refused when they connected.", &c.refusedBots),
		counter("floods_total", "Bots that were disconnected because they said too much.", &c.floods),
		counter("unidentified_total", "Bots that were disconnected because they did not identify in time.", &c.silent),
		counter("orders_total", "Hellos and commands sent to bots of this instance.", &c.orders),
		counter("promotions_total", "Bots that were told to run.", &c.promotions),
		counter("health_checks_total", "Health checks that were asked for.", &c.healthChecks),
		counter("health_failures_total", "Health checks that failed, or were not answered in time.", &c.healthFailures),
		counter("shutdowns_total", "Bots that were told to shut down.", &c.shutdowns),
		counter("tasks_total", "Tasks for agents.", &c.tasks),
		counter("tasks_failed_total", "Tasks that failed, or whose agent fell silent.", &c.tasksFailed),
		counter("tasks_no_agent_total", "Tasks for which there was no agent.", &c.tasksNoAgent),
		counter("leaderships_total", "Times that this instance became the leader of a fleet.", &c.leaderships),
		counter("cut_offs_total", "Bots that were told to stop because this instance did not reach the leader any more.", &c.cutOffs),
		counter("alarms_total", "Times that a fleet was found not sane.", &c.alarms),
	}
}

func gauge(name, help string, n *atomic.Int64) hub.Metric {
	return hub.Metric{Name: name, Help: help, Value: float64(n.Load())}
}

func counter(name, help string, n *atomic.Uint64) hub.Metric {
	return hub.Metric{Name: name, Help: help, Counter: true, Value: float64(n.Load())}
}
