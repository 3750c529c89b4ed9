"""Configs of the commands that use an engine. They lie apart from the presets, since `engine=…` names
a folder here, and would choose among the presets of conf/engine there."""
