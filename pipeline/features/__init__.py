"""Features: conversion of band values before clustering."""
